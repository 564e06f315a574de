"""The server that the suite's ``tasks-*`` scenarios want: their tools, behind the extension class of the product."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
from anyio.abc import TaskGroup
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    TextContent,
)

from nano_banana_tools.tasks.extension import Task, Tasks, declares_tasks, no_such_task, require_tasks
from tests.support.serving import listening, serving

ToolContext = Context[Any, Any]

TASK_TOOLS = {
    "slow_compute",
    "failing_job",
    "protocol_error_job",
    "confirm_delete",
    "multi_input",
    "test_tool_with_task",
}


@dataclass(eq=False)
class Job:
    """One running tool call, and what it waits for."""

    status: Literal["working", "input_required", "completed", "failed", "cancelled"] = "working"
    details: dict[str, Any] = field(default_factory=dict)
    questions: dict[str, dict[str, Any]] = field(default_factory=dict)
    answered: anyio.Event = field(default_factory=anyio.Event)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    created_at: float = field(default_factory=time.time)

    async def ask(self, *names: str) -> None:
        """Wait until the client has answered these questions."""
        self.questions = {name: question(name).model_dump(by_alias=True, exclude_none=True) for name in names}
        self.status = "input_required"
        await self.answered.wait()
        self.status = "working"


class Jobs:
    """A task store in memory."""

    def __init__(self) -> None:
        self.group: TaskGroup | None = None
        self._jobs: dict[str, Job] = {}

    def start(self, work: Callable[[Job], Awaitable[CallToolResult]]) -> CallToolResult:
        """Run a job in the background. The result only carries its id to :meth:`task_for`."""
        assert self.group is not None
        task_id, job = str(uuid.uuid4()), Job()
        self._jobs[task_id] = job
        self.group.start_soon(self._run, job, work)
        return CallToolResult(content=[], structured_content={"job": task_id})

    async def _run(self, job: Job, work: Callable[[Job], Awaitable[CallToolResult]]) -> None:
        with job.scope:
            try:
                result = await work(job)
            except MCPError as error:
                job.status, job.details = "failed", {"error": error.error.model_dump(exclude_none=True)}
            else:
                job.status = "completed"
                job.details = {"result": result.model_dump(by_alias=True, mode="json", exclude_none=True)}

    async def task_for(self, result: CallToolResult) -> Task | None:
        return None if result.structured_content is None else await self.get(result.structured_content["job"])

    async def get(self, task_id: str) -> Task:
        job = self._find(task_id)
        details = {"inputRequests": job.questions} if job.status == "input_required" else job.details
        return Task(task_id, job.status, job.status, job.created_at, time.time(), 3_600.0, 0.2, details)

    async def update(self, task_id: str, responses: dict[str, Any]) -> None:
        job = self._find(task_id)
        job.questions = {name: text for name, text in job.questions.items() if name not in responses}
        if not job.questions:
            job.answered.set()

    async def cancel(self, task_id: str) -> None:
        job = self._find(task_id)
        if job.status in ("working", "input_required"):
            job.scope.cancel()
            job.status = "cancelled"

    def _find(self, task_id: str) -> Job:
        try:
            return self._jobs[task_id]
        except KeyError:
            raise no_such_task() from None


def text_result(text: str, *, is_error: bool = False) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=is_error)


def question(name: str) -> ElicitRequest:
    schema: Any = {"type": "object", "properties": {name: {"type": "string"}}}
    return ElicitRequest(params=ElicitRequestFormParams(message=f"{name}?", requested_schema=schema))


def fixture_server() -> MCPServer[Any]:
    """A new server with the tools of the scenarios."""
    jobs = Jobs()

    @asynccontextmanager
    async def lifespan(_: MCPServer[Any]) -> AsyncIterator[None]:
        async with anyio.create_task_group() as jobs.group:
            yield
            jobs.group.cancel_scope.cancel()

    server: MCPServer[Any] = MCPServer("task-fixtures", extensions=[Tasks(jobs, TASK_TOOLS)], lifespan=lifespan)

    @server.tool()
    async def greet(name: str) -> CallToolResult:
        return text_result(f"Hello, {name}!")

    @server.tool()
    async def slow_compute(ctx: ToolContext, seconds: float, label: str = "") -> CallToolResult:
        async def work(_: Job | None) -> CallToolResult:
            await anyio.sleep(seconds)
            return text_result(f"{label} done")

        return jobs.start(work) if declares_tasks(ctx.request_context) else await work(None)

    @server.tool()
    async def failing_job(ctx: ToolContext) -> CallToolResult:
        require_tasks(ctx.request_context)

        async def work(_: Job) -> CallToolResult:
            return text_result("it failed", is_error=True)

        return jobs.start(work)

    @server.tool()
    async def protocol_error_job() -> CallToolResult:
        async def work(_: Job) -> CallToolResult:
            raise MCPError(INTERNAL_ERROR, "it broke")

        return jobs.start(work)

    async def ask(job: Job, *names: str) -> CallToolResult:
        await job.ask(*names)
        return text_result("answered")

    @server.tool()
    async def confirm_delete(filename: str) -> CallToolResult:
        return jobs.start(lambda job: ask(job, "confirm"))

    @server.tool()
    async def multi_input() -> CallToolResult:
        return jobs.start(lambda job: ask(job, "name", "confirm"))

    @server.tool()
    async def test_tool_with_task(ctx: ToolContext) -> CallToolResult | InputRequiredResult:
        answer = (ctx.input_responses or {}).get("user_name")
        if not isinstance(answer, ElicitResult):
            return InputRequiredResult(input_requests={"user_name": question("user_name")})

        async def work(_: Job) -> CallToolResult:
            return text_result(f"Hello, {answer.content}")

        return jobs.start(work)

    return server


@asynccontextmanager
async def serving_task_fixtures() -> AsyncIterator[str]:
    """The URL of a fixture server in this process."""
    server = fixture_server()
    with listening() as (listener, url):
        async with serving(server.streamable_http_app(), listener, lifespan="on"):
            yield f"{url}/mcp"
