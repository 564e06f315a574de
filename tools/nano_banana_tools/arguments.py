"""The types of the tools' arguments: the published schema, and the checks before anything is sent.

The published schemas are plain (no ``anyOf`` with null), because hosts and models handle those best; null for an
optional argument is accepted and means its default.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from nano_banana_mcp.common.text import clean
from nano_banana_mcp.common.urls import IMAGE_URI, UPLOAD_URI, http_url
from nano_banana_mcp.defapi.schemas import TASK_ID
from nano_banana_mcp.generations.batches import MAX_COUNT
from nano_banana_mcp.images.saving.filenames import chosen_name

MAX_REFERENCES = 4
"""Reference images of one request; the API's limit."""

MAX_PROMPT_CHARACTERS = 32_000
MAX_PATH_CHARACTERS = 8_192
MAX_DATA_URI_CHARACTERS = 14_000_000
"""About 10 MB of image as base64. The API documents no limit; its other clients stop here."""

ASPECT_RATIOS = ("1:1", "16:9", "21:9", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "auto")
IMAGE_SIZES = ("1k", "2k", "4k")

_ADDRESS_NAMES = ("url", "image_url", "uri", "resource_uri", "image", "path", "data")
_BETWEEN_REFERENCES = re.compile(
    r"[,;|\s](?=(?:https?|file|nanobanana)://|data:[^,]{0,200},)|,\s(?=[/~]|[A-Za-z]:[\\/])", re.IGNORECASE
)
"""A comma in a URL is no separator: only one that another reference follows."""

_NAMED_RATIOS = {"square": "1:1", "widescreen": "16:9", "ultrawide": "21:9"}
_PLACEHOLDERS = frozenset({"null", "none", "undefined"})


def _prompt(value: str) -> str:
    if all(letter.isspace() or unicodedata.category(letter).startswith("C") for letter in value):
        raise ValueError("it is empty; describe the picture")
    return value


def _reference(value: str) -> str:
    text = value.strip()
    if IMAGE_URI.fullmatch(text) or UPLOAD_URI.fullmatch(text):
        return text
    if is_local(text):  # the service decides whether the file may be read
        if len(text) > MAX_PATH_CHARACTERS:
            raise ValueError("this path is too long")
        return text
    if text[:5].lower() != "data:":
        url = http_url(text)
        if url is None:
            raise ValueError(
                "an image must be an http(s) URL, an image data URI (data:image/png;base64,…), or the resource_uri of "
                "an earlier picture"
            )
        return url
    if len(text) > MAX_DATA_URI_CHARACTERS:
        raise ValueError("this data URI is larger than 10 MB; use a smaller picture or a URL")
    return text


def _callback(value: str | None) -> str | None:
    if value is None or not value.strip():
        return None
    url = http_url(value.strip())
    if url is None:
        raise ValueError("it must be an http(s) URL that the API can reach")
    return url


def _task_id(value: str) -> str:
    text = value.strip()
    if not TASK_ID.fullmatch(text):
        raise ValueError("this cannot be a task id; pass the task_id that generate_image returned")
    return text


def _aspect_ratio(value: str | None) -> str | None:
    text = re.sub(r"\s", "", unicodedata.normalize("NFKC", value or "")).lower()
    ratio = _NAMED_RATIOS.get(text, re.sub(r"[x/×∶]", ":", text))
    if ratio and ratio != "auto" and not re.fullmatch(r"[1-9]\d?:[1-9]\d?", ratio):
        raise ValueError(f"it must be one of {', '.join(ASPECT_RATIOS)}")
    return ratio or None


def _image_size(value: str | None) -> str | None:
    text = re.sub(r"\s*[×*x]\s*", "x", (value or "").strip().lower())
    if text and not re.fullmatch(r"[1-9]\d?(\.\d)?k|0\.\d{1,2}k|[1-9]\d{2,3}(x[1-9]\d{2,3}|px)?", text):
        raise ValueError("it must read like 2k; known sizes are 1k, 2k and 4k")
    return text or None


def _number_as_text(value: Any) -> Any:
    """Return a whole number, which models write for 512 or for an id, as text."""
    return str(value) if type(value) is int else value


def _model(value: str | None) -> str | None:
    text = (value or "").strip()
    if text.lower() in _PLACEHOLDERS:
        raise ValueError("leave it out for the default model")
    if len(text) > 200 or not text.isprintable():
        raise ValueError("this cannot be the name of a model")
    return text or None


def _save_as(value: str | None) -> str | None:
    return chosen_name(value) if value and value.strip() else None


def _request_id(value: str | None) -> str | None:
    text = (value or "").strip()
    if text and not re.fullmatch(r"[A-Za-z0-9._:#-]{1,64}", text):
        raise ValueError("a request_id has 1 to 64 letters, digits, dots, colons, dashes, underscores or #")
    return text or None


def _upload_id(value: str | None) -> str | None:
    text = (value or "").strip()
    if text and not re.fullmatch(r"up-[0-9a-f]{24}", text):
        raise ValueError("this cannot be an upload_id; pass the one that add_reference returned")
    return text or None


def _as_list(value: Any) -> Any:
    if value is None or value == "":
        return []
    items = value if isinstance(value, list) else [value]
    references = [part for item in items for part in _split(_address_in(item))]
    if len(references) > MAX_REFERENCES:
        raise ValueError(f"the API accepts at most {MAX_REFERENCES} images, and these are {len(references)}")
    return references


def _address_in(item: Any) -> Any:
    """Return the text of a reference that a model wrote as an object: ``{"url": …}``, ``{"image_url": {"url": …}}``."""
    while isinstance(item, dict) and (inner := next((item[name] for name in _ADDRESS_NAMES if item.get(name)), None)):
        item = inner
    return item


def _split(item: Any) -> list[Any]:
    """Return the references of a text that holds several, separated by commas, semicolons or white space."""
    if not isinstance(item, str):
        return [item]
    first, *others = [part.strip(" \t\r\n,;|") for part in _BETWEEN_REFERENCES.split(item)]
    return [first, *others] if first and others else others or [item]


def _seconds(default: float) -> BeforeValidator:
    def read(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("it must be a number of seconds")  # noqa: TRY004 - pydantic wants ValueError
        return default if value is None else value

    return BeforeValidator(read)


def _integer(default: int | None) -> BeforeValidator:
    def read(value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("it must be a whole number")  # noqa: TRY004 - pydantic wants ValueError
        return default if value is None else value

    return BeforeValidator(read)


def is_local(reference: str) -> bool:
    """Whether a reference names a file: a file URL, or a path of any system."""
    return (
        reference[:5].lower() == "file:"
        or reference.startswith(("/", "\\", "~", "./", "../"))
        or re.match(r"[A-Za-z]:[\\/]", reference) is not None
    )


def _described(schema: dict[str, Any], description: str) -> WithJsonSchema:
    return WithJsonSchema({**schema, "description": description})


Prompt = Annotated[
    str,
    Field(max_length=MAX_PROMPT_CHARACTERS),
    AfterValidator(_prompt),
    _described({"type": "string", "minLength": 1}, "What to draw, or how to change the images. Any language."),
]
References = Annotated[
    list[Annotated[str, AfterValidator(_reference)]],
    BeforeValidator(_as_list),
    _described(
        {"type": "array", "items": {"type": "string"}, "maxItems": MAX_REFERENCES},
        "Reference pictures to edit or combine: http(s) URLs, image data URIs, the resource_uri of an earlier picture, "
        "or (over stdio) absolute paths.",
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
    BeforeValidator(_number_as_text),
    AfterValidator(_image_size),
    _described({"type": "string"}, "1k, 2k or 4k. Only google/nano-banana-pro and google/nano-banana-2."),
]
SaveAs = Annotated[
    str | None,
    AfterValidator(_save_as),
    _described({"type": "string"}, "File name in the output folder (over stdio), if the person wants a certain one."),
]
CallbackUrl = Annotated[
    str | None,
    AfterValidator(_callback),
    _described({"type": "string"}, "URL that the API calls when the image is finished. Rarely needed."),
]
RequestId = Annotated[
    str | None,
    BeforeValidator(_number_as_text),
    AfterValidator(_request_id),
    _described(
        {"type": "string"},
        "Your own name for this one call, such as a UUID. If an answer got lost, the same call with the same "
        "request_id returns the same task and is not charged again. Use a new one for a new picture.",
    ),
]
TaskId = Annotated[
    str,
    AfterValidator(_task_id),
    _described({"type": "string"}, "The task_id from generate_image."),
]
Count = Annotated[
    int,
    _integer(1),
    Field(ge=1, le=MAX_COUNT),
    _described(
        {"type": "integer", "minimum": 1, "maximum": MAX_COUNT, "default": 1},
        "Versions of the picture, each paid, all under one task_id.",
    ),
]
WaitSeconds = Annotated[
    float,
    _seconds(0),
    Field(ge=0, le=240, allow_inf_nan=False),
    _described(
        {"type": "number", "minimum": 0, "maximum": 240, "default": 0},
        "Wait this long for the picture. 0 returns the task_id at once; 45 suits most hosts.",
    ),
]
TimeoutSeconds = Annotated[
    float,
    _seconds(45),
    Field(ge=1, le=240, allow_inf_nan=False),
    _described(
        {"type": "number", "minimum": 1, "maximum": 240, "default": 45},
        "Longest wait. Many hosts cut a call at 60 s.",
    ),
]
Number = Annotated[
    Annotated[int, Field(ge=0)] | None,
    _integer(None),
    _described({"type": "integer", "minimum": 0}, "Which picture, from 0. Leave out for all."),
]
MaxSide = Annotated[
    int,
    _integer(1024),
    Field(ge=64, le=2048),
    _described({"type": "integer", "minimum": 64, "maximum": 2048, "default": 1024}, "Longest side, in pixels."),
]
ViewSide = Annotated[
    int,
    _integer(2048),
    Field(ge=64, le=2048),
    _described({"type": "integer", "minimum": 64, "maximum": 2048, "default": 2048}, "Longest side, in pixels."),
]
Search = Annotated[
    str | None,
    Field(max_length=MAX_PROMPT_CHARACTERS),
    AfterValidator(lambda text: (text or "").strip() or None),
    _described({"type": "string"}, "Only with this text in the prompt."),
]
Limit = Annotated[
    int,
    _integer(8),
    Field(ge=1, le=20),
    _described({"type": "integer", "minimum": 1, "maximum": 20, "default": 8}, "Maximum number of pictures."),
]
Purpose = Annotated[
    str | None,
    Field(max_length=300),
    AfterValidator(lambda text: clean(text or "").strip() or None),
    _described({"type": "string"}, "What the picture is for. Shown to the person."),
]
UploadCount = Annotated[
    int,
    _integer(1),
    Field(ge=1, le=MAX_REFERENCES),
    _described({"type": "integer", "minimum": 1, "maximum": MAX_REFERENCES, "default": 1}, "How many pictures."),
]
UploadId = Annotated[
    str | None,
    AfterValidator(_upload_id),
    _described({"type": "string"}, "upload_id from an earlier answer."),
]
UploadWaitSeconds = Annotated[
    float,
    _seconds(0),
    Field(ge=0, le=240, allow_inf_nan=False),
    _described({"type": "number", "minimum": 0, "maximum": 240, "default": 0}, "Wait for the person."),
]
