"""Clients that declare the extension ``io.modelcontextprotocol/tasks`` and record their answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal

import httpx
from mcp.client import Client
from mcp.client.extension import ClientExtension, ResultClaim
from mcp.types import CallToolResult, Request, Result
from pydantic import ConfigDict

from nano_banana_mcp.app import build_server
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_tools.tasks.extension import TASKS
from tests.support.clients import KEY, WITHOUT_PAUSES
from tests.support.discovery import ENVELOPE, envelope
from tests.support.team import ACCEPT, bearer

DECLARED: dict[str, Any] = {f"{ENVELOPE}clientCapabilities": {"extensions": {TASKS: {}}}}


class AnyAnswer(Result):
    """All fields of an answer."""

    model_config = ConfigDict(extra="allow")


class TaskAnswer(AnyAnswer):
    """A task in place of a result."""

    result_type: Literal["task"]


class TasksDeclared(ClientExtension):
    """Declares the extension. Its tests fetch the results themselves."""

    identifier = TASKS

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=TaskAnswer, resolve=self._resolve)]

    async def _resolve(self, task: Any, context: Any) -> CallToolResult:
        raise NotImplementedError


class TaskRequest(Request[dict[str, Any], str]):
    """A request of the extension. Over HTTP, the header that names its task has the value of this parameter."""

    name_param: ClassVar[str | None] = "taskId"


class MisdirectedTaskRequest(TaskRequest):
    """The same with the header of another task."""

    name_param: ClassVar[str | None] = "other"


class UndirectedTaskRequest(TaskRequest):
    """The same without the header."""

    name_param: ClassVar[str | None] = None


def task_client(server: Any) -> Client:
    """A client of ``server`` (as the SDK's) that declares the extension."""
    return Client(server, extensions=[TasksDeclared()])


def task_client_at(url: str, *, schedule: Schedule = WITHOUT_PAUSES, local: bool = False, **settings: Any) -> Client:
    """The same for a server in this process that talks to the API at ``url``."""
    values: dict[str, Any] = {"base_url": url, "api_key": KEY, **settings}
    return task_client(build_server(load_settings(**values), schedule=schedule, local=local))


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The answer to a call as it came over the wire: a task or a result."""
    answer = await client.session.call_tool(tool, arguments, allow_claimed=True)
    return answer.model_dump(mode="json", by_alias=True)


async def ask(client: Client, method: str, task_id: str, *, header: str | None = "", **params: Any) -> dict[str, Any]:
    """The answer to ``tasks/…``.

    Args:
        header: The task that the header names over HTTP: that of the request if empty; None for no header.
    """
    params = {"taskId": task_id, **params}
    request: TaskRequest = TaskRequest(method=method, params=params)
    if header is None:
        request = UndirectedTaskRequest(method=method, params=params)
    elif header:
        request = MisdirectedTaskRequest(method=method, params={**params, "other": header})
    return (await client.session.send_request(request, AnyAnswer)).model_dump(mode="json", by_alias=True)


async def ended(client: Client, task_id: str) -> dict[str, Any]:
    """Poll until the end, as a client that does nothing else, and return the task."""
    while (task := await ask(client, "tasks/get", task_id))["status"] == "working":
        pass
    return task


def declared_params(**params: Any) -> dict[str, Any]:
    """The ``params`` of a raw modern request that declares the extension."""
    return {**envelope(**DECLARED), **params}


@asynccontextmanager
async def listening(url: str, task_ids: list[str], token: str | None = None) -> AsyncIterator[AsyncIterator[Any]]:
    """The messages of a stream over HTTP that listens to tasks."""
    body = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "subscriptions/listen",
        "params": declared_params(notifications={"taskIds": task_ids}),
    }
    headers = {**ACCEPT, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"}
    headers |= {} if token is None else bearer(token)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
        http.stream("POST", url, json=body, headers=headers) as response,
    ):

        async def messages() -> AsyncIterator[Any]:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

        yield messages()
