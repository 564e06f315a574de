"""The MCP server: the SDK's, with resources looked up in the ledger and with errors as text for models."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.helper_types import ReadResourceContents
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.request_state import RequestStateCodec, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptResult,
    Icon,
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
from nano_banana_tools import apps, completions, resources
from nano_banana_tools.confirmation import ANSWER_SECONDS, ConfirmationNotices
from nano_banana_tools.context import principal
from nano_banana_tools.errors import resource_error, tool_error, unknown_tool
from nano_banana_tools.host_arguments import ArgumentsParser, normalize_arguments
from nano_banana_tools.middleware import CallObserver
from nano_banana_tools.prompts.catalog import PROMPTS
from nano_banana_tools.prompts.rendering import list_prompts, render_prompt
from nano_banana_tools.registry import tools
from nano_banana_tools.revisions import RevisionFilter
from nano_banana_tools.sdk_fixes.malformed_messages import ReadableMessages
from nano_banana_tools.subscriptions.bus import ResourceUpdateBus
from nano_banana_tools.subscriptions.listen import BoundedListenHandler
from nano_banana_tools.subscriptions.sessions import SessionSubscriptions
from nano_banana_tools.tasks.extension import Tasks
from nano_banana_tools.tasks.generation_tasks import TASK_TOOLS, GenerationTasks

INSTRUCTIONS = (
    "Makes pictures. generate_image spends credits. Run as a background task by the host, it ends with the finished "
    "picture, so do not wait or poll; otherwise it returns a task_id, and wait_for_image brings the finished picture. "
    "view_image lets you see it. A timeout loses nothing: wait again with the same task_id. Show the person the "
    "picture's URL."
)

# For answers that change only with the version of the server.
_CACHED_FOR_AN_HOUR = CacheHint(ttl_ms=3_600_000, scope="public")


class ImageServer(MCPServer[GenerationService]):
    """Serves the tools and resources of one :class:`~nano_banana_mcp.service.generation_service.GenerationService`.

    Args:
        service: Opens the service; entered once, when serving begins.
        updates: Notifies subscribers of changed resources.
        instrumentation: Receives the outcome of each call.
        resource_links: Whether results link to their images (``NANO_BANANA_RESOURCE_LINKS``).
        keep_days: How long generations are kept after their end; None for ever.
        icon_url: Where the server's icon is served; None if at no public address.
        state_codec: Seals the state of confirmations; None for a key of this process.
    """

    def __init__(
        self,
        service: AbstractAsyncContextManager[GenerationService],
        updates: ResourceUpdateBus,
        instrumentation: Instrumentation = NO_INSTRUMENTATION,
        *,
        resource_links: bool = True,
        keep_days: float | None = None,
        icon_url: str | None = None,
        state_codec: RequestStateCodec | None = None,
    ) -> None:
        self._service: GenerationService | None = None
        self._sessions = SessionSubscriptions(updates)
        tasks = GenerationTasks(lambda: self.service, keep_days=keep_days, resource_links=resource_links)
        self._listen_handler = BoundedListenHandler(updates, tasks)

        @asynccontextmanager
        async def lifespan(_: MCPServer[GenerationService]) -> Any:
            async with service as self._service, anyio.create_task_group() as self._sessions.tasks:
                self._service.bus.subscribe(updates.on_change)
                self._service.uploads.subscribe(updates.on_upload)
                yield self._service
                self._sessions.tasks.cancel_scope.cancel()

        self._tools = {tool.name: tool for tool in tools()}
        super().__init__(
            "nano-banana-mcp",
            title="Nano Banana",
            instructions=INSTRUCTIONS,
            icons=None if icon_url is None else [Icon(src=icon_url, mime_type="image/png", sizes=["512x512"])],
            version=__version__,
            extensions=[apps.apps(), Tasks(tasks, TASK_TOOLS)],
            tools=list(self._tools.values()),
            middleware=[
                RevisionFilter(resource_links=resource_links),
                ArgumentsParser(),
                CallObserver(instrumentation, self._tools, self._count_call),
            ],
            lifespan=lifespan,
            request_state_security=RequestStateSecurity.ephemeral(ttl=ANSWER_SECONDS)
            if state_codec is None
            else RequestStateSecurity(codec=state_codec, ttl=ANSWER_SECONDS),
            subscriptions=updates,
            cache_hints={
                "tools/list": _CACHED_FOR_AN_HOUR,
                "prompts/list": _CACHED_FOR_AN_HOUR,
                "resources/templates/list": _CACHED_FOR_AN_HOUR,
                "server/discover": _CACHED_FOR_AN_HOUR,
            },
        )

        # Outside of the SDK's own, which refuses a state that is not valid.
        self.middleware.insert(0, ConfirmationNotices(lambda: self.service.callers, "generate_image"))
        # The constructor of the SDK has no arguments for these.
        for method, params, handler in (
            ("subscriptions/listen", SubscriptionsListenRequestParams, self._listen_handler),
            ("resources/subscribe", SubscribeRequestParams, self._sessions.subscribe),
            ("resources/unsubscribe", UnsubscribeRequestParams, self._sessions.unsubscribe),
            ("completion/complete", CompleteRequestParams, self.complete),
        ):
            self._lowlevel_server.add_request_handler(method, params, handler)  # type: ignore[arg-type]  # of its row

    @property
    def service(self) -> GenerationService:
        """The generation service, while serving."""
        assert self._service is not None, "resources are read while serving"
        return self._service

    async def run_stdio_async(
        self, stdin: anyio.AsyncFile[str] | None = None, stdout: anyio.AsyncFile[str] | None = None
    ) -> None:
        """Serve over stdin and stdout, or the given streams; unreadable messages are answered with an error."""
        async with stdio_server(stdin, stdout) as (requests, answers):
            await self._lowlevel_server.run(
                ReadableMessages(requests, answers), answers, self._lowlevel_server.create_initialization_options()
            )

    async def wait_until_settled(self) -> None:
        """Return once every submit in progress is recorded."""
        if self._service is not None:
            await self._service.wait_until_settled()

    async def flush_ledger(self) -> None:
        """Write pending writes to the ledger, and close it."""
        if self._service is not None:
            await self._service.ledger.aclose()

    def drain(self) -> None:
        """Let waiting calls answer now, with their next step, and close the streams that never end by themselves."""
        if self._service is not None:
            self._service.drain()
        self._listen_handler.close()
        for session in self.session_manager._server_instances.values():  # private, but the SDK has no drain
            session.close_standalone_sse_stream()

    async def called_back(self, generation_id: str, task_id: str) -> bool:
        """Handle a callback of the API. Returns whether the generation exists."""
        return self._service is not None and await self._service.refresher.called_back(generation_id, task_id)

    async def not_ready(self) -> str | None:
        """Why this server cannot make images that are recorded durably; None if it can."""
        return self.problem if self._service is None else await self._service.ledger.probe()

    @property
    def problem(self) -> str | None:
        """As :meth:`not_ready`, without probing the ledger."""
        return "The server is starting." if self._service is None else self._service.ledger.problem

    def _count_call(self) -> None:
        self.service.callers.quotas.count_call(principal())

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[GenerationService, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool, with domain errors as text instead of the SDK's "Error executing tool"."""
        tool = self._tools.get(name)
        try:
            if not (name == "upload_image" and arguments.get("upload_id")):  # pieces have a rate limit of their own
                self._count_call()
            if tool is None:
                raise unknown_tool(name, (name for name, tool in self._tools.items() if tool.meta != apps.APP_ONLY))
            schema = tool.parameters
            return await super().call_tool(
                name, normalize_arguments(arguments, schema["properties"], schema.get("required", ())), context
            )
        except LimitReached as error:
            text = tool_error(error)
            assert text is not None
            raise text from error
        except ToolError as error:
            text = tool_error(error.__cause__, submits=name == "generate_image")
            if text is None:
                raise
            raise text from error.__cause__

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[GenerationService, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """One of :mod:`~nano_banana_tools.prompts.catalog`, filled in."""
        return render_prompt(PROMPTS, name, arguments, self.service.default_model)

    async def list_prompts(self) -> list[Prompt]:
        """All prompts."""
        return list_prompts(PROMPTS)

    async def complete(self, _: Any, request: CompleteRequestParams) -> CompleteResult:
        """Completions for an argument of a prompt or a resource template."""
        try:
            return CompleteResult(completion=await completions.complete(self.service, request, principal()))
        except (LedgerError, LimitReached) as error:
            raise MCPError(INTERNAL_ERROR, str(resource_error(error, ""))) from error

    async def list_resources(self) -> list[Resource]:
        """The recent tasks and images."""
        return await resources.listed(self.service, principal())

    async def list_resource_templates(self) -> list[ResourceTemplate]:
        """The URI templates of tasks and images."""
        return resources.TEMPLATES

    async def read_resource(
        self, uri: Any, context: Context[GenerationService, Any] | None = None
    ) -> Iterable[ReadResourceContents] | InputRequiredResult:
        """A task, an image, an image URL that this server returned to this caller, or a public page."""
        try:
            if str(uri).startswith(apps.SCHEME):
                return await super().read_resource(uri, context)
            return [await resources.read(self.service, str(uri), principal())]
        except (DefapiError, LedgerError, ImageError, NoSuchImage) as error:
            text = resource_error(error, str(uri))
            assert text is not None
            raise text from error
