"""Domain errors as text for models and users. The only place where a domain error becomes an SDK error."""

from __future__ import annotations

from collections.abc import Iterable

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from pydantic import ValidationError

from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown, Refused
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.ledger.base import LedgerBusy, LedgerError
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.service.generation_service import SaveAsRefused
from nano_banana_mcp.service.references import CallbackRefused
from nano_banana_mcp.service.submission import RequestIdTaken
from nano_banana_tools.confirmation import NotConfirmed

NOTHING_CHARGED = "Nothing was sent, so nothing was charged."


def tool_error(cause: BaseException | None, *, submits: bool = False) -> ToolError | None:
    """The error that a model should read for ``cause``; None if ``cause`` is not a domain error.

    Args:
        submits: Whether the tool submits a request: then an image error is about the references.
    """
    if isinstance(cause, DefapiError):
        return ToolError(" ".join([cause.message, *_describe_charge(cause), cause.hint]))
    if isinstance(cause, RequestIdTaken):
        return ToolError(
            "This request_id was already used with other arguments. Use a new request_id for another picture, or the "
            f"same arguments to get the earlier one. {NOTHING_CHARGED}"
        )
    if isinstance(cause, LimitReached | SaveAsRefused) or (submits and isinstance(cause, ImageError)):
        subject = "callback_url: " if isinstance(cause, CallbackRefused) else "images: "
        subject = subject if isinstance(cause, ImageError) else ""
        return ToolError(f"{subject}{cause.message} {NOTHING_CHARGED} {cause.hint}")
    if isinstance(cause, LedgerError):
        return ToolError(f"{cause} {_describe_ledger_error(cause, submits=submits)}")
    if isinstance(cause, NoSuchImage | ImageError | NotConfirmed):
        return ToolError(str(cause) or "This task has no picture with that number.")
    return ToolError(_describe_invalid_arguments(cause)) if isinstance(cause, ValidationError) else None


def resource_error(cause: BaseException | None, uri: str) -> ResourceError | None:
    """The error for a failed ``resources/read``; None if ``cause`` is not a domain error."""
    if isinstance(cause, NoSuchImage):
        return ResourceNotFoundError(f"Resource not found: {uri[:200]}")
    if isinstance(cause, DefapiError | LimitReached):
        return ResourceError(f"{cause.message} {cause.hint}")
    if isinstance(cause, LedgerError | ImageError):
        return ResourceError(str(cause))
    return None


def unknown_tool(name: str, names: Iterable[str]) -> ToolError:
    """The error for a tool that does not exist; the SDK's would repeat a name of any length."""
    return ToolError(f"There is no tool {name[:80]!r}. Tools: {', '.join(names)}. {NOTHING_CHARGED}")


def _describe_charge(error: DefapiError) -> list[str]:
    if isinstance(error, OutcomeUnknown):
        return []  # its own message says so
    if error.is_query:
        return ["Queries are free, and the task is not lost."]
    if isinstance(error, NotSent):
        return [NOTHING_CHARGED]
    if isinstance(error, Refused) and error.status is not None:  # else the API was not asked
        return ["The API refused this request, so nothing was charged as far as the API reports."]
    return []


def _describe_ledger_error(error: LedgerError, *, submits: bool) -> str:
    nothing_sent = f"A request is only sent once it is recorded. {NOTHING_CHARGED} " if submits else ""
    if isinstance(error, LedgerBusy):
        return f"{nothing_sent}No task is lost. Try again in a moment."
    return (
        f"{nothing_sent}No task is lost. Free some disk space or check the database, then try again with the same "
        "arguments."
    )


def _describe_invalid_arguments(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        reason = problem["msg"].removeprefix("Value error, ").replace(" after validation", "")
        lines.append(f"{name}: {reason[:1].lower()}{reason[1:]}")
    return f"{'; '.join(lines[:5])}. {NOTHING_CHARGED}"
