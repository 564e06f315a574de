"""The middleware that logs requests, applies the rate limit, and reports the outcome of each tool call."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import anyio
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR
from pydantic import BaseModel

from nano_banana_mcp.common import logging as logs
from nano_banana_mcp.defapi.schemas import TASK_ID
from nano_banana_mcp.generations.instrumentation import Instrumentation
from nano_banana_mcp.generations.quotas import LimitReached

logger = logging.getLogger(__name__)

_CALL, _READ = "tools/call", "resources/read"

_FREE = frozenset(
    {"initialize", "ping", "server/discover", "tools/list", "prompts/list", "resources/templates/list", "tasks/get"}
)
"""Not rate-limited: requests of every connecting client, requests with constant answers, and polls, which the server
asks for and which query the API no more often than its schedule says."""

_COUNTED_LATER = frozenset({_CALL, "completion/complete"})
"""Rate-limited by their handlers: a refused tool call needs a result, and only some completions query the ledger."""

_TASK_URI = re.compile(r"nanobanana://tasks/([A-Za-z0-9_-]{1,128})(?:/.*)?")
_LOGGABLE = re.compile(r"[\w./-]{1,64}", re.ASCII)


class CallObserver(ServerMiddleware[Any]):
    """Logs one line for each tool call and resource read. Of arguments and URIs it logs only the task id.

    Args:
        instrumentation: Receives the outcome of each tool call.
        tools: The names of the tools; any other name is logged as "other".
        count: Counts a call of the current caller; raises
            :class:`~nano_banana_mcp.generations.quotas.LimitReached` above their limit.
    """

    def __init__(self, instrumentation: Instrumentation, tools: Collection[str], count: Callable[[], None]) -> None:
        self._instrumentation = instrumentation
        self._tools = tools
        self._count = count

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass one message on."""
        if ctx.request_id is None:
            return await call_next(ctx)
        params = ctx.params or {}
        token = get_access_token()
        with logs.log_context(
            request_id=logs.context_field("request_id") or _loggable(str(ctx.request_id)),
            principal=token.client_id if token else None,
            method=_loggable(ctx.method),
            tool=self._tool(params) if ctx.method == _CALL else None,
            task_id=_requested_task(params),
        ):
            if ctx.method not in (_CALL, _READ):
                return await self._call(ctx, call_next)
            return await self._call_and_log(ctx, call_next)

    async def _call(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method not in _FREE | _COUNTED_LATER:
            try:
                self._count()
            except LimitReached as error:
                raise MCPError(INTERNAL_ERROR, f"{error.message} {error.hint}") from error
        return await call_next(ctx)

    async def _call_and_log(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        began = time.perf_counter()
        outcome, task_id = "refused", None
        try:
            result = await self._call(ctx, call_next)
            answer = _as_sent(result) if ctx.method == _CALL else {}  # a resource may be large
            outcome, task_id = _outcome(answer), _returned_task(answer)
        except anyio.get_cancelled_exc_class():
            outcome = "cancelled"
            raise
        finally:
            seconds = time.perf_counter() - began
            extra = {"outcome": outcome, "seconds": round(seconds, 4)}
            logger.info("%s: %s", ctx.method, outcome, extra=extra | ({"task_id": task_id} if task_id else {}))
            if ctx.method == _CALL:
                self._instrumentation.called(self._tool(ctx.params or {}), outcome, seconds)
        return result

    def _tool(self, params: Mapping[str, Any]) -> str:
        name = params.get("name")
        return name if isinstance(name, str) and name in self._tools else "other"


def _outcome(answer: Mapping[str, Any]) -> str:
    return "error" if answer.get("isError") is True else "ok"


def _requested_task(params: Mapping[str, Any]) -> str | None:
    arguments = params.get("arguments")
    task_id = arguments.get("task_id") if isinstance(arguments, Mapping) else params.get("taskId")
    if isinstance(task_id, str) and TASK_ID.fullmatch(task_id):
        return task_id
    uri = params.get("uri")
    match = _TASK_URI.fullmatch(uri) if isinstance(uri, str) else None
    return match[1] if match else None


def _returned_task(answer: Mapping[str, Any]) -> str | None:
    facts = answer.get("structuredContent")
    task_id = facts.get("task_id") if isinstance(facts, Mapping) else answer.get("taskId")
    return task_id if isinstance(task_id, str) else None


def _as_sent(result: HandlerResult) -> Mapping[str, Any]:
    """The answer as JSON; an interceptor of the SDK may return a model instead."""
    return result.model_dump(by_alias=True) if isinstance(result, BaseModel) else result or {}


def _loggable(text: str) -> str | None:
    return text if _LOGGABLE.fullmatch(text) else None
