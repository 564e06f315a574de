"""The request and response bodies of the image API, read tolerantly.

Besides the shapes of the API's guide, those that public clients have received are accepted: a flat body without
``data``, one object instead of a list, ``consumed`` as a number, text instead of an image.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nano_banana_mcp.common.text import clean
from nano_banana_mcp.defapi.result_items import read_result

TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
"""The API uses two shapes (`ta` + UUID, and a UUID that starts with `ta`), so only the alphabet is checked."""

RETIRED_MODELS = frozenset(
    {
        "google/gemini-2.5-flash-image",
        "google/gemini-2.5-flash-image-preview",
        "google/gemini-3.1-flash-image",
        "google/gemini-3.1-flash-image-preview",
    }
)
"""Ids that Google retired in 2026. They are passed on, but not suggested: the API may not serve them any more."""


MAX_DECIMALS = 9
"""Decimals of an amount that is sent as a number: further ones are noise of its binary form."""

_END_NAMES = ("completed_at", "finished_at", "ended_at", "finish_time", "end_time", "completedAt", "finishedAt")
"""Names of the end's time in tasks of common APIs; the guide of this one names only ``created_at``."""

_MIN_MILLISECONDS = 1e11
"""A larger number is a time in milliseconds: as seconds it would be later than the year 5000."""


class SubmitRequest(BaseModel):
    """Body of ``POST /api/image/gen``."""

    model_config = ConfigDict(frozen=True)

    model: str
    prompt: str
    images: list[str] | None = None
    callback_url: str | None = None
    aspect_ratio: str | None = None
    image_size: str | None = None

    def body(self) -> dict[str, Any]:
        """Return the JSON body without the fields that are not set."""
        return self.model_dump(exclude_none=True)


class TaskSnapshot(BaseModel):
    """The state of a task, from ``GET /api/task/query`` or a callback.

    Attributes:
        task_id: The id in the answer; None if it is missing.
        status: The status of the API in lower case.
        image_sources: URLs, data URIs and base64 of the images, in the order of the API.
        texts: Text of the model instead of, or beside, an image.
        unreadable: What stands where an image should be, and has no form of an image.
        is_unexplained: Whether the result holds neither an image nor mere words, but something.
        answer: What was read, to be kept if an image in it cannot be read.
        reason: ``status_reason.message``.
        consumed: Charged credits as a decimal string.
        created_at: When it was created, by the clock of the API, Unix seconds; None if it does not say.
        ended_at: When it ended, by the same clock.
    """

    model_config = ConfigDict(frozen=True)

    task_id: str | None
    status: str
    image_sources: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    reason: str | None = None
    consumed: str | None = None
    created_at: float | None = None
    ended_at: float | None = None
    unreadable: tuple[str, ...] = Field((), exclude=True, repr=False)
    is_unexplained: bool = Field(default=False, exclude=True)
    answer: dict[str, Any] = Field(default_factory=dict, exclude=True, repr=False)


def unwrap(body: dict[str, Any]) -> dict[str, Any]:
    """Return the content of an answer: ``data``, or the body itself if there is no ``data`` object."""
    data = body.get("data")
    return data if isinstance(data, dict) else body


def failure_code(body: dict[str, Any]) -> bool:
    """Return whether the ``code`` of a 200 answer reports a failure."""
    code = body.get("code", 0)
    return code not in (0, "0", None, 200, "200")


def failure_text(body: Any) -> str | None:
    """Return the first text of ``detail``, ``message`` and ``error`` of an error body, or None."""
    if not isinstance(body, dict):
        return None
    for name in ("detail", "message", "error"):
        value = body.get(name)
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str) and (text := clean(value)):
            return text
    return None


def failure_word(body: Any) -> str:
    """Return the name of an error, such as ``model_not_found``, with blanks; empty if it has none."""
    error = body.get("error") if isinstance(body, dict) else None
    code = (error if isinstance(error, dict) else body or {}).get("code")
    return code.replace("_", " ") if isinstance(code, str) else ""


def read_snapshot(body: dict[str, Any]) -> TaskSnapshot | None:
    """Return the state in the answer to a query or in a callback; None if it has no status."""
    data = unwrap(body)
    status = data.get("status")
    if not isinstance(status, str) or not clean(status):
        return None
    items = read_result(data)
    reason = data.get("status_reason")
    message = reason.get("message") if isinstance(reason, dict) else reason
    task_id = data.get("task_id")
    return TaskSnapshot(
        task_id=task_id if isinstance(task_id, str) and TASK_ID.fullmatch(task_id) else None,
        status=clean(status).lower(),
        image_sources=tuple(items.sources),
        texts=tuple(items.texts),
        reason=(clean(message) or None) if isinstance(message, str) else None,
        consumed=None if (consumed := read_credits(data.get("consumed"))) and consumed.startswith("-") else consumed,
        created_at=read_time(data.get("created_at")),
        ended_at=next((time for name in _END_NAMES if (time := read_time(data.get(name))) is not None), None),
        unreadable=tuple(items.unreadable),
        is_unexplained=items.is_unexplained,
        answer=data,
    )


def read_time(value: Any) -> float | None:
    """Return a time as Unix seconds, from a number (seconds or milliseconds) or ISO 8601; None if it is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return seconds / 1_000 if abs(seconds) >= _MIN_MILLISECONDS else seconds


def read_credits(value: Any) -> str | None:
    """Return an amount of credits as a decimal string; the API sends a string or, rarely, a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = (
        f"{Decimal(repr(round(value, MAX_DECIMALS))):f}"
        if isinstance(value, float) and math.isfinite(value)
        else str(value).strip()
    )
    return text if re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", text) else None
