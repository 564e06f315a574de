"""add_reference: asks the person for images of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.apps import client_supports_apps
from mcp.types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestURLParams,
    ElicitResult,
    InputRequiredResult,
    TextContent,
)

from nano_banana_mcp.generations.uploads import UploadRequest
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.service.uploads import upload_reference
from nano_banana_tools import apps
from nano_banana_tools.arguments import Purpose, UploadCount, UploadId, UploadWaitSeconds
from nano_banana_tools.context import ToolContext, growing_progress, principal
from nano_banana_tools.definition import ADDING, ToolDefinition
from nano_banana_tools.revisions import FIRST_WITH_INPUT_REQUIRED

DESCRIPTION = (
    "Ask the person for a picture of their own, such as a photo that they attached: attachments do not reach this "
    "server. Show them upload_url if there is one, then call it again with the upload_id. Pass the references to "
    "generate_image."
)

_USE = "Pass each resource_uri in images of generate_image."
_ELICITATION = "upload"


class NoUploadPage(ImageError):
    """The page for uploads is served nowhere."""

    hint = (
        "Its operator can set NANO_BANANA_PUBLIC_URL. Otherwise pass the https:// URL of the picture in images of "
        "generate_image."
    )


# No output schema: it would cost every conversation more than the answer explains.
async def add_reference(
    ctx: ToolContext,
    purpose: Purpose = None,
    count: UploadCount = 1,
    upload_id: UploadId = None,
    wait_seconds: UploadWaitSeconds = 0,
) -> CallToolResult | InputRequiredResult:
    """Ask, by the means that the host has, or return what has arrived."""
    service = ctx.request_context.lifespan_context
    uploads = service.uploads
    shows_page = client_supports_apps(ctx)
    earlier_id = upload_id or ctx.request_state
    if earlier_id is None:
        request = await uploads.ask(principal(), purpose, count)
    else:
        request = await uploads.find(earlier_id, principal())
    url = page_url = None if shows_page else await uploads.page_url(request, (ctx.headers or {}).get("host"))
    if url is None and not shows_page and uploads.is_open(request):
        raise NoUploadPage("This server has no address where a person could add a picture.")
    is_declined = False
    if url is not None and upload_id is None and _opens_urls(ctx):
        answer = await _elicit(ctx, request, url)
        if isinstance(answer, InputRequiredResult):
            return answer
        is_declined = answer != "accept"
        url = None
    # A view gets its upload_id with the result, so the call that opens it does not wait.
    if wait_seconds and not is_declined and not (shows_page and upload_id is None):
        request = await uploads.wait(request, wait_seconds, _progress(ctx, page_url, wait_seconds))
    if _opens_urls(ctx) and not _has_input_requests(ctx) and not uploads.is_open(request):
        await ctx.session.send_elicit_complete(request.upload_id, ctx.request_context.request_id)
    return await _result(service, request, url, shows_page=shows_page, is_declined=is_declined)


def _opens_urls(ctx: ToolContext) -> bool:
    capabilities = ctx.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    return elicitation is not None and elicitation.url is not None


def _has_input_requests(ctx: ToolContext) -> bool:
    return (ctx.protocol_version or "") >= FIRST_WITH_INPUT_REQUIRED


def _progress(ctx: ToolContext, url: str | None, seconds: float) -> Callable[[float], Awaitable[None]]:
    """Report a wait as MCP progress, with the page's address: the person needs it before the call returns."""
    message = "Waiting for the person's picture" + (f": {url}" if url else "")
    report = growing_progress(ctx, seconds)
    return lambda waited: report(waited, message)


async def _elicit(ctx: ToolContext, request: UploadRequest, url: str) -> str | InputRequiredResult:
    """The person's action; or the question, for the client to ask before it calls again."""
    message = f"Add {'a picture' if request.count == 1 else f'up to {request.count} pictures'}"
    message += f": {request.purpose}" if request.purpose else "."
    if not _has_input_requests(ctx):
        return (await ctx.elicit_url(message, url, request.upload_id)).action
    answer = (ctx.input_responses or {}).get(_ELICITATION)
    if isinstance(answer, ElicitResult):
        return answer.action
    question = ElicitRequest(params=ElicitRequestURLParams(message=message, url=url))
    return InputRequiredResult(input_requests={_ELICITATION: question}, request_state=request.upload_id)


async def _result(
    service: GenerationService, request: UploadRequest, url: str | None, *, shows_page: bool, is_declined: bool
) -> CallToolResult:
    uploads = service.uploads
    references = [upload_reference(upload) for upload in await uploads.arrived(request)]
    finished = not uploads.is_open(request)
    if is_declined:
        next_step = "The person did not want to add a picture now. Ask them how to proceed."
    elif finished:
        next_step = (
            _USE if references else "Nothing arrived in time. Call add_reference without upload_id to ask again."
        )
    else:
        next_step = _describe_open(request, url, shows_page=shows_page)
    facts: dict[str, Any] = {
        "upload_id": request.upload_id,
        "upload_url": url,
        "finished": finished,
        "references": references,
        "next_step": next_step,
    }
    count = f"{len(references)} of {request.count}"
    lines = [f"upload_id {request.upload_id}, finished {str(finished).lower()}, {count} arrived"]
    lines += ["{resource_uri} ({mime_type}, {width} x {height})".format(**reference) for reference in references]
    lines += [f"upload_url {url}"] if url else []
    lines += [f"Next: {next_step}"]
    meta = {"nano-banana/max_side": uploads.max_side, "nano-banana/left": request.count - request.used}
    return CallToolResult(
        content=[TextContent(type="text", text="\n".join(lines))], structured_content=facts, _meta=meta
    )


def _describe_open(request: UploadRequest, url: str | None, *, shows_page: bool) -> str:
    if shows_page:
        now = "The person sees an upload area in this conversation; you get a message when the picture arrives."
    elif url is None:
        now = "Wait until the person has added the picture on the page that is open."
    else:
        now = f"Ask the person to open {url} and add the picture there."
    return f'{now} Then call add_reference with upload_id "{request.upload_id}" and wait_seconds 45. {_USE}'


TOOL = ToolDefinition(add_reference, "Add reference", DESCRIPTION, ADDING, apps.REFERENCE_VIEW)
