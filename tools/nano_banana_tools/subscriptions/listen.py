"""``subscriptions/listen``, for clients of 2026-07-28 and later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import anyio
from mcp.server.context import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    Notification,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

from nano_banana_mcp.common.supervise import log_exceptions
from nano_banana_tools.resources import is_mutable, task_uri
from nano_banana_tools.sdk_fixes.listen_acknowledgement import AcknowledgingSession
from nano_banana_tools.subscriptions.bus import MAX_URIS, PendingUpdates, ResourceUpdateBus
from nano_banana_tools.tasks.extension import Task, require_tasks
from nano_banana_tools.tasks.generation_tasks import GenerationTasks

RETRY_SECONDS = 5.0
"""Pause before a notification that failed is sent again."""

_TASK_IDS = "taskIds"

Context = ServerRequestContext[Any, Any]


class TaskNotification(Notification[dict[str, Any], Literal["notifications/tasks"]]):
    """The state of a task, as ``tasks/get`` would answer it now."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: dict[str, Any]


class BoundedListenHandler(ListenHandler):
    """The SDK's handler with limits, which keeps only URIs of resources that can change, and notifies of tasks.

    Args:
        tasks: The tasks that clients may name in ``taskIds``.
    """

    def __init__(self, bus: ResourceUpdateBus, tasks: GenerationTasks) -> None:
        super().__init__(bus, max_subscriptions=bus.max_listeners)
        self._updates = bus
        self._tasks = tasks

    async def __call__(self, ctx: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Serve one stream.

        Raises:
            MCPError: too many listeners, or too many subscriptions for one stream; or the client asks for tasks and
                does not declare the extension.
        """
        self._updates.check_capacity()
        requested = params.notifications
        uris = list(dict.fromkeys(uri for uri in requested.resource_subscriptions or () if is_mutable(uri)))
        task_ids = _requested_task_ids(ctx, requested)
        if len(uris) > MAX_URIS or len(task_ids) > MAX_URIS:
            raise MCPError(INVALID_PARAMS, f"A stream can subscribe to at most {MAX_URIS} resources. Open another one.")
        accepted = requested.model_copy(update={"resource_subscriptions": uris or None})
        params = SubscriptionsListenRequestParams(notifications=accepted)
        if not task_ids:
            return await super().__call__(ctx, params)
        return await self._serve_tasks(ctx, params, task_ids)

    async def _serve_tasks(
        self, ctx: Context, params: SubscriptionsListenRequestParams, task_ids: Sequence[str]
    ) -> SubscriptionsListenResult:
        async with self._tasks.watched(task_ids) as watched_ids, anyio.create_task_group() as senders:
            tasks = {task_uri(task_id): task_id for task_id in watched_ids}
            session = AcknowledgingSession(ctx.session, {_TASK_IDS: watched_ids})
            updates = PendingUpdates(tasks)
            unsubscribe = self._updates.subscribe(updates.on_event)
            for uri in tasks:  # a client need not query what the state was when it subscribed
                updates.add(uri)

            async def send() -> None:
                await session.acknowledged.wait()
                while True:
                    uri = await updates.next()
                    with log_exceptions("notifying of a task"):
                        await self._notify(ctx, tasks, uri)
                        continue
                    updates.add(uri)  # it may have been the end, which no later change reports
                    await anyio.sleep(RETRY_SECONDS)

            senders.start_soon(send)
            try:
                result = await super().__call__(replace(ctx, session=cast(ServerSession, session)), params)
            finally:
                unsubscribe()
            senders.cancel_scope.cancel()
        return result

    async def _notify(self, ctx: Context, tasks: dict[str, str], uri: str) -> None:
        try:
            task = await self._tasks.get(tasks[uri])
        except MCPError as error:
            if error.code == INVALID_PARAMS:  # it was deleted
                del tasks[uri]
            raise
        await ctx.session.send_notification(cast(Any, _notification(ctx, task)), ctx.request_id)
        if task.status == "completed":  # further changes, as of a batch's members, are not the task's
            del tasks[uri]


def _notification(ctx: Context, task: Task) -> TaskNotification:
    return TaskNotification(params={**task.as_sent(), "_meta": {SUBSCRIPTION_ID_META_KEY: ctx.request_id}})


def _requested_task_ids(ctx: Context, requested: SubscriptionFilter) -> list[str]:
    task_ids = (requested.model_extra or {}).get(_TASK_IDS)
    if task_ids is None:
        return []
    require_tasks(ctx)
    if not isinstance(task_ids, list) or not all(isinstance(task_id, str) for task_id in task_ids):
        raise MCPError(INVALID_PARAMS, "taskIds must be a list of texts.")
    return list(dict.fromkeys(task_ids))
