"""The MCP server: the SDK's, with resources that are looked up rather than registered, and errors in words."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptResult,
    InputRequiredResult,
    Prompt,
    Resource,
    ResourceTemplate,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

from nano_banana_mcp import __version__
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.generations.instrumentation import NO_INSTRUMENTATION, Instrumentation
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_tools import apps as views
from nano_banana_tools import errors as boundary
from nano_banana_tools import resources
from nano_banana_tools.context import principal
from nano_banana_tools.middleware import Observer
from nano_banana_tools.registry import tools
from nano_banana_tools.sdk_fixes.malformed_messages import Readable
from nano_banana_tools.subscriptions import Listening, OwnedBus, SessionSubscriptions

INSTRUCTIONS = (
    "Makes pictures. generate_image spends credits and returns a task_id; wait_for_image brings the finished "
    "picture, view_image lets you see it. A timeout loses nothing: wait again with the same task_id. Show the "
    "person the picture's URL."
)

# What only a new version of the server changes.
_LASTING = CacheHint(ttl_ms=3_600_000, scope="public")


class ImageServer(MCPServer[GenerationService]):
    """Serves the tools and resources of one :class:`~nano_banana_mcp.service.generation_service.GenerationService`.

    Args:
        studio: Opens the studio; entered once, when serving begins.
        bus: Tells who subscribes of changes.
        telemetry: Told how calls went.
    """

    def __init__(
        self,
        service: AbstractAsyncContextManager[GenerationService],
        bus: OwnedBus,
        telemetry: Instrumentation = NO_INSTRUMENTATION,
    ) -> None:
        self._service: GenerationService | None = None
        self._bus = bus
        self._sessions = SessionSubscriptions(self._bus)
        self._listening = Listening(self._bus)

        @asynccontextmanager
        async def lifespan(_: MCPServer[GenerationService]) -> Any:
            async with service as self._service, anyio.create_task_group() as self._sessions.tasks:
                self._service.audience = self._bus
                yield self._service
                self._sessions.tasks.cancel_scope.cancel()

        served = self._served = tools()
        super().__init__(
            "nano-banana-mcp",
            title="Nano Banana",
            instructions=INSTRUCTIONS,
            version=__version__,
            extensions=[views.apps()],
            tools=served,
            middleware=[Observer(telemetry, {tool.name for tool in served}, self._count_call)],
            lifespan=lifespan,
            subscriptions=self._bus,
            cache_hints={
                "tools/list": _LASTING,
                "prompts/list": _LASTING,
                "resources/templates/list": _LASTING,
                "server/discover": _LASTING,
            },
        )

        # The SDK's server has no argument for these.
        for method, params, handler in (
            ("subscriptions/listen", SubscriptionsListenRequestParams, self._listening),
            ("resources/subscribe", SubscribeRequestParams, self._sessions.subscribe),
            ("resources/unsubscribe", UnsubscribeRequestParams, self._sessions.unsubscribe),
            ("completion/complete", CompleteRequestParams, self.complete),
        ):
            self._lowlevel_server.add_request_handler(method, params, handler)  # type: ignore[arg-type]  # of its row

    @property
    def service(self) -> GenerationService:
        """The studio, while serving."""
        assert self._service is not None, "resources are read while serving"
        return self._service

    async def run_stdio_async(
        self, stdin: anyio.AsyncFile[str] | None = None, stdout: anyio.AsyncFile[str] | None = None
    ) -> None:
        """As the SDK's, on streams that may be given, and malformed messages are answered."""
        async with stdio_server(stdin, stdout) as (received, answers):
            await self._lowlevel_server.run(
                Readable(received, answers), answers, self._lowlevel_server.create_initialization_options()
            )

    async def settled(self) -> None:
        """Return when every submit that is under way is recorded."""
        if self._service is not None:
            await self._service.settled()

    async def write_down(self) -> None:
        """Write to the ledger what could not be written before."""
        if self._service is not None:
            await self._service.ledger.aclose()

    def drain(self) -> None:
        """Let waiting calls answer now, with their next step, and end the streams that would stay open for ever."""
        if self._service is not None:
            self._service.drain()
        self._listening.close()
        for session in self.session_manager._server_instances.values():  # private, but the SDK has no drain
            session.close_standalone_sse_stream()

    async def called_back(self, generation_id: str, task_id: str) -> bool:
        """The API has called back about an intent. Returns whether there is such an intent."""
        return self._service is not None and await self._service.inquiry.called_back(generation_id, task_id)

    async def not_ready(self) -> str | None:
        """Why this server cannot make pictures that last; None where it can."""
        return self.problem if self._service is None else await self._service.ledger.probe()

    @property
    def problem(self) -> str | None:
        """As :meth:`not_ready`, by what is known without looking."""
        return "The server is starting." if self._service is None else self._service.ledger.problem

    def _count_call(self) -> None:
        self.service.accounts.quotas.count_call(principal())

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[GenerationService, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """As the SDK's, with our errors in words instead of "Error executing tool"."""
        tool = self._tool_manager.get_tool(name)
        try:
            self._count_call()
            if tool is None:
                raise boundary.unknown_tool(
                    name, (each.name for each in self._served if each.meta != views.FOR_THE_VIEW)
                )
            if error := boundary.unknown_arguments(arguments, tool.parameters["properties"]):
                raise error
            return await super().call_tool(name, arguments, context)
        except LimitReached as error:
            worded = boundary.tool_error(error)
            assert worded is not None
            raise worded from error
        except ToolError as error:
            worded = boundary.tool_error(error.__cause__, submits=name == "generate_image")
            if worded is None:
                raise
            raise worded from error.__cause__

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[GenerationService, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """One of :mod:`~nano_banana_tools.prompts.catalog`, filled in. Its code is loaded when somebody asks."""
        from nano_banana_tools.prompts import rendering as filling
        from nano_banana_tools.prompts.catalog import JOBS

        return filling.rendered(JOBS, name, arguments, self.service.default_model)

    async def list_prompts(self) -> list[Prompt]:
        """The common jobs."""
        from nano_banana_tools.prompts import rendering as filling
        from nano_banana_tools.prompts.catalog import JOBS

        return filling.listed(JOBS)

    async def complete(self, _: Any, asked: CompleteRequestParams) -> CompleteResult:
        """What the argument of a prompt or a template may become."""
        from nano_banana_tools import completions

        try:
            return CompleteResult(completion=await completions.complete(self.service, asked, principal()))
        except (LedgerError, LimitReached) as error:
            raise MCPError(INTERNAL_ERROR, str(boundary.resource_error(error, ""))) from error

    async def list_resources(self) -> list[Resource]:
        """The recent tasks and pictures, as they are now."""
        return await resources.listed(self.service, principal())

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """How tasks and pictures are addressed."""
        return resources.TEMPLATES

    async def read_resource(
        self, uri: Any, context: Context[GenerationService, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """A task, a picture, any picture URL that this server handed out, or a page, which is everybody's."""
        try:
            if str(uri).startswith(views.SCHEME):
                return await super().read_resource(uri, context)
            return [await resources.read(self.service, str(uri), principal())]
        except (DefapiError, LedgerError, ImageError, NoSuchImage) as error:
            worded = boundary.resource_error(error, str(uri))
            assert worded is not None
            raise worded from error
