"""Generations as tasks. The ledger is the store, so a task outlives the process and exists on every replica."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, INVALID_PARAMS, CallToolResult, ResourceLink

from nano_banana_mcp.common.supervise import supervise
from nano_banana_mcp.defapi.schemas import TASK_ID
from nano_banana_mcp.generations.batches import Batch, GenerationOrBatch, members
from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools.context import ToolContext, describe_state, principal
from nano_banana_tools.results import to_result
from nano_banana_tools.tasks.extension import Task, declares_tasks, no_such_task

TASK_TOOLS = frozenset({"generate_image", "wait_for_image"})
"""The tools with calls that become tasks."""


class GenerationTasks:
    """The :class:`~nano_banana_tools.tasks.extension.TaskStore` of the ledger. A task's id is its public id.

    Args:
        service: Returns the service, while serving.
        keep_days: How long generations are kept after their end; None for ever.
        resource_links: Whether results link to their images.
    """

    def __init__(
        self,
        service: Callable[[], GenerationService],
        *,
        keep_days: float | None = None,
        resource_links: bool = True,
    ) -> None:
        self._service = service
        self._ttl_seconds = None if keep_days is None else keep_days * 86_400
        self._resource_links = resource_links

    async def task_for(self, result: CallToolResult) -> Task | None:
        """See :class:`TaskStore`. What is not recorded durably stays an ordinary answer."""
        facts = result.structured_content
        if facts is None or facts["finished"] or self._service().ledger.problem is not None:
            return None
        try:
            item = await self._find(facts["task_id"])
            return await self._working(WaitResult(item), facts["task_id"]) if item.is_open else None
        except (LedgerError, MCPError):  # the image is paid for, and its answer must not become an error
            return None

    async def get(self, task_id: str) -> Task:
        """See :class:`TaskStore`. The API is queried if that is due."""
        service = self._service()
        try:
            state = await service.poll_recorded(await self._find(task_id))
            if state.generation.is_open and not state.given_up:
                return await self._working(state, task_id)
            state = await service.result(state)
        except LedgerError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        result = to_result(
            state, service.now(), errors=frozenset({Status.FAILED, Status.UNKNOWN}), giving_up_is_error=True
        )
        if not self._resource_links:
            result.content = [block for block in result.content if not isinstance(block, ResourceLink)]
        task = self._task(state.generation, task_id, f"{_describe(state.generation, service.now())}.")
        details = {"result": result.model_dump(by_alias=True, mode="json", exclude_none=True)}
        return replace(task, status="completed", details=details)

    async def update(self, task_id: str, responses: dict[str, Any]) -> None:
        """See :class:`TaskStore`. An image asks for nothing, so every answer is one to ignore."""
        await self._find(task_id)

    async def cancel(self, task_id: str) -> None:
        """See :class:`TaskStore`. The API cannot stop an image; the status says so from the start.

        Of a batch, what was not sent yet is not sent any more.
        """
        item = await self._find(task_id)
        if not isinstance(item, Batch):
            return
        try:
            await self._service().cancel_unsent(item)
        except LedgerError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error

    @asynccontextmanager
    async def watched(self, task_ids: Sequence[str]) -> AsyncIterator[list[str]]:
        """Query the API during the block as for a call that waits, so that the change bus reports each end in time.

        Yields:
            The ids of the tasks that exist and are this caller's.
        """
        items: dict[str, GenerationOrBatch] = {}
        for task_id in task_ids:
            try:
                items[task_id] = await self._find(task_id)
            except MCPError as error:
                if error.code != INVALID_PARAMS:
                    raise
        async with anyio.create_task_group() as waits:
            for generation in (generation for item in items.values() for generation in members(item)):
                if generation.is_open:
                    wait = partial(self._service().waiter.wait, generation, math.inf)
                    waits.start_soon(supervise, "Waiting for the end of a watched task", wait)
            yield list(items)
            waits.cancel_scope.cancel()

    async def _find(self, task_id: str) -> GenerationOrBatch:
        """What is recorded for this caller under a task id: the only place that knows what a task id names."""
        if TASK_ID.fullmatch(task_id) is None:
            raise no_such_task()
        try:
            item = await self._service().refresher.find_recorded(task_id, principal())
        except LedgerError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        if item is None:
            raise no_such_task()
        return item

    async def _working(self, state: WaitResult, task_id: str) -> Task:
        service, generation = self._service(), members(state.generation)[0]
        medians = None if generation.model is None else await service.ledger.medians(generation.model, generation.api)
        usual = ""
        if medians is not None and medians.seconds is not None:
            usual = f"; {generation.model} usually takes {medians.seconds:.0f} s"
        is_partly_unsent = any(one.is_unsent for one in members(state.generation))
        unsent = " Images not yet sent are not sent." if is_partly_unsent else ""
        last_error = "" if state.last_error is None else f" The last query failed: {state.last_error.message}"
        message = (
            f"{_describe(state.generation, service.now())}{usual}. Cancelling does not stop it: the image is still "
            f"made, charged and stored.{unsent}{last_error}"
        )
        return self._task(state.generation, task_id, message)

    def _task(self, item: GenerationOrBatch, task_id: str, message: str) -> Task:
        service = self._service()
        generations = members(item)
        return Task(
            task_id,
            "working",
            message,
            created_at=item.created_at,
            updated_at=max(generation.finished_at or service.now() for generation in generations),
            ttl_seconds=self._ttl_seconds,
            poll_seconds=min(map(service.waiter.poll_interval, generations)),
        )


def answers_with_task(ctx: ToolContext) -> bool:
    """Whether the call of ``ctx`` is answered with a task where the image is not finished, so that it need not wait."""
    request: ServerRequestContext[Any, Any] = ctx.request_context
    return declares_tasks(request) and ctx.request_context.lifespan_context.ledger.problem is None


def _describe(item: GenerationOrBatch, now: float) -> str:
    elapsed = item.elapsed_seconds(now)
    state = describe_state(item).capitalize()
    return state if elapsed is None else f"{state}, {elapsed:.0f} s"
