"""The types of the tools' arguments: what is published in the schema, and what is checked before anything is sent.

The published schemas are plain (no ``anyOf`` with null), because hosts and models cope best with those; a null
for an optional argument is taken all the same.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from nano_banana_mcp.defapi.wire import TASK_ID
from nano_banana_mcp.images.data_uri import is_image_data_uri

MOST_REFERENCES = 4
LONGEST_PROMPT = 32_000
LONGEST_URL = 8_192
LONGEST_DATA_URI = 14_000_000
"""About 10 MB of picture as base64: where the API's other clients stop, no limit being documented."""


def _prompt(value: str) -> str:
    if not value.strip():
        raise ValueError("the prompt is empty; describe the picture")
    return value


def _http_url(value: str) -> str | None:
    """``value`` stripped if it is a plausible http(s) URL."""
    text = value.strip()
    if len(text) > LONGEST_URL or re.search(r"[\s\x00-\x1f\x7f<>\"\\]", text):
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return None
    return text if parts.scheme.lower() in ("http", "https") and parts.hostname else None


def _reference(value: str) -> str:
    text = value.strip()
    if text[:5].lower() == "data:":
        if len(text) > LONGEST_DATA_URI:
            raise ValueError("this data URI is larger than 10 MB; use a smaller picture or a URL")
        if not is_image_data_uri(text):
            raise ValueError("this data URI is not an image; it must read data:image/png;base64,… (or jpeg, webp)")
        return text
    url = _http_url(text)
    if url is None:
        raise ValueError("an image must be an http(s) URL or an image data URI (data:image/png;base64,…)")
    return url


def _callback(value: str | None) -> str | None:
    if value is None or not value.strip():
        return None
    url = _http_url(value)
    if url is None:
        raise ValueError("callback_url must be an http(s) URL that the API can reach")
    return url


def _task_id(value: str) -> str:
    text = value.strip()
    if not TASK_ID.fullmatch(text):
        raise ValueError("this cannot be a task id; pass the task_id that generate_image returned")
    return text


def _aspect_ratio(value: str | None) -> str | None:
    text = (value or "").strip().lower()
    if text and text != "auto" and not re.fullmatch(r"[1-9]\d?:[1-9]\d?", text):
        raise ValueError('aspect_ratio must read like "16:9", or "auto"')
    return text or None


def _image_size(value: str | None) -> str | None:
    text = (value or "").strip().lower()
    if text and not re.fullmatch(r"[1-9]\d?k", text):
        raise ValueError("image_size must be 1k, 2k or 4k")
    return text or None


def _model(value: str | None) -> str | None:
    text = (value or "").strip()
    if len(text) > 200 or not text.isprintable():
        raise ValueError("this cannot be a model's name")
    return text or None


def _request_id(value: str | None) -> str | None:
    text = (value or "").strip()
    if text and not re.fullmatch(r"[A-Za-z0-9._:-]{1,64}", text):
        raise ValueError("a request_id has 1 to 64 letters, digits, dots, colons, dashes or underscores")
    return text or None


def _as_list(value: Any) -> Any:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else value


def _described(schema: dict[str, Any], description: str) -> WithJsonSchema:
    return WithJsonSchema({**schema, "description": description})


Prompt = Annotated[
    str,
    Field(max_length=LONGEST_PROMPT),
    AfterValidator(_prompt),
    _described({"type": "string", "minLength": 1}, "What to draw, or how to change the images. Any language."),
]
References = Annotated[
    list[Annotated[str, AfterValidator(_reference)]],
    BeforeValidator(_as_list),
    Field(max_length=MOST_REFERENCES),
    _described(
        {"type": "array", "items": {"type": "string"}, "maxItems": MOST_REFERENCES},
        "Reference pictures to edit or combine: http(s) URLs or image data URIs.",
    ),
]
Model = Annotated[
    str | None,
    AfterValidator(_model),
    _described({"type": "string"}, "Leave out unless asked for, e.g. google/nano-banana-pro."),
]
AspectRatio = Annotated[
    str | None,
    AfterValidator(_aspect_ratio),
    _described(
        {"type": "string"},
        "1:1 16:9 21:9 2:3 3:2 3:4 4:3 4:5 5:4 9:16 or auto. Known to work with google/nano-banana* models.",
    ),
]
ImageSize = Annotated[
    str | None,
    AfterValidator(_image_size),
    _described({"type": "string"}, "1k, 2k or 4k. Only google/nano-banana-pro and google/nano-banana-2."),
]
CallbackUrl = Annotated[
    str | None,
    AfterValidator(_callback),
    _described({"type": "string"}, "URL that the API should POST the end to. Seldom needed."),
]
RequestId = Annotated[
    str | None,
    AfterValidator(_request_id),
    _described(
        {"type": "string"},
        "Your own name for this one picture, such as a UUID. If an answer got lost, the same call with the same "
        "request_id returns the same task and is not charged again. Use a new one for a new picture.",
    ),
]
TaskId = Annotated[
    str,
    AfterValidator(_task_id),
    _described({"type": "string"}, "The task_id from generate_image."),
]
WaitSeconds = Annotated[
    float,
    BeforeValidator(lambda value: 0 if value is None else value),
    Field(ge=0, le=240, allow_inf_nan=False),
    _described(
        {"type": "number", "minimum": 0, "maximum": 240, "default": 0},
        "Wait this long for the picture. 0 returns the task_id at once; 45 suits most hosts.",
    ),
]
TimeoutSeconds = Annotated[
    float,
    BeforeValidator(lambda value: 45 if value is None else value),
    Field(ge=1, le=240, allow_inf_nan=False),
    _described(
        {"type": "number", "minimum": 1, "maximum": 240, "default": 45},
        "Longest wait. Many hosts cut a call at 60 s.",
    ),
]
