"""What travels between this server and the image API, read as tolerantly as its real answers ask for.

Sources of the shapes: the API's published guide, and what public clients have met (a flat body without
``data``, one object instead of a list, ``consumed`` as a number, text instead of a picture).
"""

from __future__ import annotations

import math
import re
import unicodedata
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict

from nano_banana_mcp.common.urls import http_url

# Two shapes are seen (`ta` + UUID, and a UUID that starts with `ta`), so only the alphabet is checked.
TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")

_MAX_TEXT = 500
_HTML_IMAGE = re.compile(r"<\s*/?\s*(?:img|image|picture|svg|object|embed|iframe|video)\b[^>]*>?", re.IGNORECASE)
_FILLERS = re.compile("[\u115f\u1160\u2800\u3164\uffa0\U000e0100-\U000e01ef]")
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


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
        """The JSON body: what is not set is not sent."""
        return self.model_dump(exclude_none=True)


class TaskSnapshot(BaseModel):
    """One answer of ``GET /api/task/query``, or one callback.

    Attributes:
        task_id: As the API gives it back; None where it is left out.
        status: The API's word, lower case.
        pictures: URLs and data URIs, in the API's order.
        texts: What the model said instead of (or beside) drawing.
        reason: ``status_reason.message``.
        consumed: Credits as a decimal string.
    """

    model_config = ConfigDict(frozen=True)

    task_id: str | None
    status: str
    image_sources: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    reason: str | None = None
    consumed: str | None = None


def unwrap(body: dict[str, Any]) -> dict[str, Any]:
    """The inside of an answer: ``data``, or the body itself where the wrapper is missing."""
    data = body.get("data")
    return data if isinstance(data, dict) else body


def failure_code(body: dict[str, Any]) -> bool:
    """Whether a 200 answer says by its ``code`` that it is a failure."""
    code = body.get("code", 0)
    return code not in (0, "0", None, 200, "200")


def failure_text(body: Any) -> str | None:
    """The useful part of an error body: ``detail``, then ``message``."""
    if not isinstance(body, dict):
        return None
    for name in ("detail", "message", "error"):
        value = body.get(name)
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str) and (text := clean(value)):
            return text
    return None


def read_snapshot(body: dict[str, Any]) -> TaskSnapshot | None:
    """The state in a query's answer or a callback; None where there is no status in it."""
    data = unwrap(body)
    status = data.get("status")
    if not isinstance(status, str) or not clean(status):
        return None
    image_sources, texts = _read_result(data.get("result"))
    reason = data.get("status_reason")
    message = reason.get("message") if isinstance(reason, dict) else reason
    task_id = data.get("task_id")
    return TaskSnapshot(
        task_id=task_id if isinstance(task_id, str) and TASK_ID.fullmatch(task_id) else None,
        status=clean(status).lower(),
        image_sources=tuple(image_sources),
        texts=tuple(texts),
        reason=(clean(message) or None) if isinstance(message, str) else None,
        consumed=read_credits(data.get("consumed")),
    )


def read_credits(value: Any) -> str | None:
    """An amount of credits, which the API sends as a decimal string, seldom as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    text = f"{Decimal(repr(value)):f}" if isinstance(value, float) and math.isfinite(value) else str(value).strip()
    return text if re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,20})?", text) else None


def clean(text: str) -> str:
    """Text of others as data: one line without control characters, images (Markdown, HTML) and fillers, cut short."""
    flat = "".join(" " if unicodedata.category(c) in _UNSAFE_CATEGORIES else c for c in text[: 4 * _MAX_TEXT])
    flat = _FILLERS.sub("", _HTML_IMAGE.sub("", flat))
    flat = re.sub(r"!+(?=\[)", "", " ".join(flat.split()))
    return flat if len(flat) <= _MAX_TEXT else flat[: _MAX_TEXT - 1] + "…"


def sentence(text: str) -> str:
    """``text`` with a full stop, unless it ends like a sentence already."""
    return text if text.endswith((".", "!", "?", "…", "。", "！", "？")) else f"{text}."


def _read_result(result: Any) -> tuple[list[str], list[str]]:
    items = result if isinstance(result, list) else [result]
    image_sources: list[str] = []
    texts: list[str] = []
    for item in items:
        image = item.get("image") if isinstance(item, dict) else item
        text = item.get("text") if isinstance(item, dict) else None
        if isinstance(image, str) and (address := _address(image)):
            image_sources.append(address)
        if isinstance(text, str) and clean(text):
            texts.append(clean(text))
    return image_sources, texts


def _address(image: str) -> str | None:
    """A picture's address if it can be passed on; what only looks like one may hold words for the model."""
    text = image.strip()
    if text[:11].lower() == "data:image/":
        return text if text.isascii() else None
    return http_url(text)
