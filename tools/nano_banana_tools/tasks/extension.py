"""The protocol of the extension ``io.modelcontextprotocol/tasks``, for any store of tasks.

https://modelcontextprotocol.io/seps/2663-tasks-extension
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from nano_banana_tools.sdk_fixes.task_headers import check_task_header

TASKS = "io.modelcontextprotocol/tasks"

REVISIONS = frozenset({"2026-07-28"})
"""Protocol revisions with the extension."""

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as clients see it. Times are Unix times in seconds.

    Attributes:
        message: The state in words, for people and models.
        ttl_seconds: How long after its creation it can be fetched at least; None for ever.
        poll_seconds: When a client should poll again.
        details: What belongs to the status alone: ``result``, ``error`` or ``inputRequests``.
    """

    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    message: str
    created_at: float
    updated_at: float
    ttl_seconds: float | None
    poll_seconds: float
    details: dict[str, Any] | None = None

    def as_sent(self) -> dict[str, Any]:
        """The fields of the protocol."""
        return {
            "taskId": self.task_id,
            "status": self.status,
            "statusMessage": self.message,
            "createdAt": _timestamp(self.created_at),
            "lastUpdatedAt": _timestamp(self.updated_at),
            "ttlMs": None if self.ttl_seconds is None else max(1, round(self.ttl_seconds * 1_000)),
            "pollIntervalMs": max(1, round(self.poll_seconds * 1_000)),
            **(self.details or {}),
        }


class TaskStore(Protocol):
    """Where tasks live. Methods raise what :func:`no_such_task` returns for an id that is not this caller's."""

    async def task_for(self, result: CallToolResult) -> Task | None:
        """The recorded task that this answer of a tool announces; None if the answer is final."""

    async def get(self, task_id: str) -> Task:
        """The present state of the task."""

    async def update(self, task_id: str, responses: dict[str, Any]) -> None:
        """Take answers to its input requests."""

    async def cancel(self, task_id: str) -> None:
        """Take the wish to cancel it."""


class TaskParams(RequestParams):
    """The parameters of ``tasks/get`` and ``tasks/cancel``."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    task_id: str


class UpdateTaskParams(TaskParams):
    """The parameters of ``tasks/update``."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


class Tasks(Extension):
    """Answers calls of some tools with a task, for clients that declare the extension, and serves ``tasks/*``.

    Args:
        tools: The names of those tools.
    """

    identifier = TASKS

    def __init__(self, store: TaskStore, tools: Collection[str]) -> None:
        self._store = store
        self._tools = tools

    def methods(self) -> list[MethodBinding]:
        """See :class:`Extension`."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, REVISIONS),
            MethodBinding("tasks/update", UpdateTaskParams, self._update, REVISIONS),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, REVISIONS),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """Replace an unfinished answer by its task. A question to the person passes: it comes before the task."""
        result = await call_next(ctx)
        if params.name not in self._tools or not declares_tasks(ctx):
            return result
        if not isinstance(result, CallToolResult) or result.is_error:
            return result
        task = await self._store.task_for(result)
        return result if task is None else {"resultType": "task", **task.as_sent()}

    async def _get(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params)
        return {"resultType": "complete", **(await self._store.get(params.task_id)).as_sent()}

    async def _update(self, ctx: Context, params: UpdateTaskParams) -> HandlerResult:
        _check(ctx, params)
        await self._store.update(params.task_id, params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: Context, params: TaskParams) -> HandlerResult:
        _check(ctx, params)
        await self._store.cancel(params.task_id)
        return {"resultType": "complete"}


def declares_tasks(ctx: Context) -> bool:
    """Whether the client of this request takes a task as the answer."""
    capabilities = ctx.session.client_capabilities
    extensions = capabilities.extensions if capabilities is not None else None
    return ctx.protocol_version in REVISIONS and extensions is not None and TASKS in extensions


def require_tasks(ctx: Context) -> None:
    """Check that the client declares the extension.

    Raises:
        MCPError: it does not (-32021).
    """
    require_client_extension(ctx, TASKS)


def no_such_task() -> MCPError:
    """The error for a task that does not exist, or belongs to another caller."""
    return MCPError(INVALID_PARAMS, "You have no such task on this server. Check the taskId.")


def _check(ctx: Context, params: TaskParams) -> None:
    require_tasks(ctx)
    check_task_header(ctx, params.task_id)


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
