"""Domain error → ToolError or ResourceError, in words. The only place where the one becomes the other."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from pydantic import ValidationError

from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown, Refused
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.ledger.base import LedgerBusy, LedgerError
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.service.submission import RequestIdTaken


def tool_error(cause: BaseException | None, *, submits: bool = False) -> ToolError | None:
    """The error that a model should read for ``cause``; None where ``cause`` is not one of ours.

    Args:
        submits: Whether the tool makes a picture: its trouble with pictures is then about the references.
    """
    if isinstance(cause, DefapiError):
        return ToolError(" ".join([cause.message, *_about_credits(cause), cause.hint]))
    if isinstance(cause, RequestIdTaken):
        return ToolError(
            "This request_id was used before, with other arguments. Use a new request_id for another picture, or the "
            "same arguments to get the earlier one. Nothing was sent, so nothing was charged."
        )
    if isinstance(cause, LimitReached) or (submits and isinstance(cause, ImageError)):
        subject = "images: " if isinstance(cause, ImageError) else ""
        return ToolError(f"{subject}{cause.message} Nothing was sent, so nothing was charged. {cause.hint}")
    if isinstance(cause, LedgerError):
        return ToolError(f"{cause} {_about_the_ledger(cause)}")
    if isinstance(cause, NoSuchImage | ImageError):
        return ToolError(str(cause) or "There is no picture of that number.")
    return ToolError(_about_arguments(cause)) if isinstance(cause, ValidationError) else None


def resource_error(cause: BaseException | None, uri: str) -> ResourceError | None:
    """The error for a failed ``resources/read``; None where ``cause`` is not one of ours."""
    if isinstance(cause, NoSuchImage):
        return ResourceNotFoundError(f"This server knows no resource {uri[:200]}")
    if isinstance(cause, DefapiError | LimitReached):
        return ResourceError(f"{cause.message} {cause.hint}")
    if isinstance(cause, LedgerError | ImageError):
        return ResourceError(str(cause))
    return None


def unknown_tool(name: str, known: Iterable[str]) -> ToolError:
    """An error for a tool that is none of ours; the SDK's would repeat a name of any length."""
    return ToolError(f"There is no tool {name[:80]!r}. There are: {', '.join(known)}. Nothing was sent.")


def unknown_arguments(given: Mapping[str, Any], known: Iterable[str]) -> ToolError | None:
    """An error for arguments that no tool has: a misspelt one would be paid for and not heeded."""
    names = list(known)
    for name in given:
        if name in names or name.startswith("_"):
            continue
        close = difflib.get_close_matches(name.lower(), names, n=1)
        advice = f"Did you mean {close[0]}?" if close else f"There are: {', '.join(names)}."
        return ToolError(f"There is no argument {name[:80]!r}. {advice} Nothing was sent.")
    return None


def _about_credits(error: DefapiError) -> list[str]:
    if isinstance(error, OutcomeUnknown):
        return []  # its own message says so
    if error.asking and not isinstance(error, NotSent):
        return ["Asking costs nothing, and a task is not lost by it."]
    if isinstance(error, NotSent):
        return ["Nothing was sent, so nothing was charged."]
    if isinstance(error, Refused):
        return ["Nothing was charged for this request, as far as the API says."]
    return []


def _about_the_ledger(error: LedgerError) -> str:
    if isinstance(error, LedgerBusy):
        return "Nothing was sent, so nothing was charged, and no task is lost by it. Try again in a moment."
    return (
        "So it cannot be told whether this was made before, or be made sure that it is not lost. Nothing was sent, so "
        "nothing was charged. Try again in a moment; without a request_id it works even so."
    )


def _about_arguments(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_input=False):
        place = ".".join(str(part) for part in problem["loc"])
        words = problem["msg"].removeprefix("Value error, ").replace(" after validation", "")
        lines.append(f"{place}: {words[:1].lower()}{words[1:]}")
    return f"{'; '.join(lines[:5])}. Nothing was sent, so nothing was charged."
