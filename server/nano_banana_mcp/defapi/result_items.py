"""Finds images and texts in the result of a task, whichever shape a gateway gave it.

Whether a text really is an image is decided later, by its bytes. Nothing that could be one is dropped: it was paid for.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from nano_banana_mcp.common.text import clean
from nano_banana_mcp.common.urls import http_url

MAX_DEPTH = 10
MAX_SOURCES = 64

MIN_BASE64_CHARACTERS = 200
"""Length from which an unbroken run of base64 in a text is data: no word of any language has this length."""

_BYTES = (
    "b64json", "base64", "b64", "imagebase64", "imageb64", "imagebytes", "bytesbase64encoded", "bytes", "datauri",
    "inlinedata", "imagedata", "blob",
)  # fmt: skip
_IMAGES = (
    "images", "image", "imageurls", "imageurl", "bigimageurl", "originalimageurl", "url", "uri", "fileuri", "fileurl",
    "downloadurl", "src", "href", "link", "picture", "pictures", "file", "files", "path", "output", "outputs", "urls",
    "result", "results", "artifacts", "data", "source", "thumbnail", "thumbnailurl", "preview", "previewurl",
)  # fmt: skip
_TEXTS = ("text", "content", "markdown", "message", "caption", "description", "parts", "choices")
_NEVER_RESULTS = {
    "get", "cancel", "stream", "web", "self", "statusurl", "responseurl", "cancelurl", "callbackurl", "webhook",
    "input", "inputs", "request", "prompt", "parameters", "params", "references", "referenceimages", "initimage",
    "mask",
}  # fmt: skip
"""Keys of the API's own addresses, and of what was sent to it."""

_UNAMBIGUOUS = {*_BYTES, "images", "image", "pictures", "picture"}
"""Keys with an image as their only possible value: one that cannot be read is not passed over."""

IMAGE_KEYS = (*_BYTES, *_IMAGES)
"""Keys with an image as their value, best first, in lower case and without separators. Bytes live longer than URLs."""

_EXTENSION = r"\.(?:png|jpe?g|webp|gif|avif|bmp)(?:[?#][^\s<>\"')\]]*)?"
_TARGET = (
    r"\(\s*<?(?P<{}>data:[^)>\"']*|(?<=<)[^<>]*|(?:[^()\s<>]|\([^()\s<>]*\))+)>?"
    r"(?:\s+(?:[\"'][^\"')]*[\"']|\([^()]*\)))?\s*\)"
)
_BASE64_LINES = r"(?:\s+[A-Za-z0-9+/_-]{40,})*(?:\r?\n[A-Za-z0-9+/_-]+)?={0,2}"
_IN_TEXT = re.compile(
    rf"!\[(?:[^\[\]]|\[[^\[\]]{{0,200}}\]){{0,1000}}\]{_TARGET.format('image')}"
    rf"|\[[^\[\]]{{0,1000}}\]{_TARGET.format('link')}"
    r"|^\s*\[[^\[\]]{1,200}\]:\s*<?(?P<definition>https?://[^\s<>]+)>?"
    r"|<img\b[^>]*?\bsrc\s*=\s*(?P<quote>[\"']?)(?P<html>.*?)(?P=quote)(?=[\s/>])[^>]*>?"
    rf"|(?P<data>data:[\w.+/-]{{0,100}}(?:;[\w=.-]{{1,64}}){{0,4}}\s*,\s*[A-Za-z0-9+/=_%-]{{16,}}{_BASE64_LINES})"
    rf"|(?P<url>https?://[^\s<>\"')\]]+?{_EXTENSION})"
    rf"|(?P<base64>(?=[A-Za-z0-9+/_-]{{{MIN_BASE64_CHARACTERS}}}|(?:[A-Za-z0-9+/_-]{{40,}}\s+){{3}})"
    rf"[A-Za-z0-9+/_-]+{_BASE64_LINES})",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
_BASE64 = re.compile(r"(?=\S{40})(?:[A-Za-z0-9+/_-]{40,}\s+)*[A-Za-z0-9+/_-]+={0,2}")
"""Base64 without a label, in lines of at least 40 characters if it has several."""

_NEXT_ADDRESS = re.compile(r"[\s,;|]+(?=https?://)|\s+(?=data:)", re.IGNORECASE)
_HOST_WITHOUT_SCHEME = re.compile(rf"[a-z0-9-]+(\.[a-z0-9-]+)*\.[a-z]{{2,}}/\S*?{_EXTENSION}", re.IGNORECASE)


@dataclass
class ResultItems:
    """What a result holds, in its order.

    Attributes:
        sources: URLs, data URIs and base64.
        texts: What the model said, cleaned.
        unreadable: What stands where an image should be, and has no form of an image.
        is_unexplained: Whether there is neither an image nor mere words, but something.
    """

    sources: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    is_unexplained: bool = False

    def add(self, other: ResultItems) -> None:
        """Append what another result holds. A source is listed once."""
        self.sources += [source for source in other.sources if source not in self.sources]
        del self.sources[MAX_SOURCES:]
        self.texts += other.texts
        self.unreadable += other.unreadable


def read_result(data: dict[str, Any]) -> ResultItems:
    """Return what the ``result`` of an answer holds; without one, what stands under another usual key."""
    items = _read(data.get("result"), "image", 0)
    if not items.sources:
        others = {key: value for key, value in data.items() if key != "result" and _plain(key) in IMAGE_KEYS}
        items.add(_read_object(others, 0))
    said = " ".join(items.texts)
    items.is_unexplained = not items.sources and _has_content(data.get("result")) and (not said or "://" in said)
    return items


def _has_content(value: Any) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    return any(map(_has_content, value)) if isinstance(value, list) else value not in (None, False, "")


def _read(value: Any, role: str, depth: int) -> ResultItems:
    """Read a value that is an ``image``, a ``text``, or of unknown role (``""``)."""
    if depth > MAX_DEPTH:
        return ResultItems()
    if isinstance(value, str):
        return _read_text(value, role, depth)
    if isinstance(value, dict):
        return _read_object(value, depth)
    items = ResultItems()
    if isinstance(value, list):
        if encoded := _encoded_bytes(value):
            return ResultItems([encoded])
        for item in value:
            items.add(_read(item, role, depth + 1))
    return items


def _read_object(value: dict[str, Any], depth: int) -> ResultItems:
    by_key = {_plain(key): item for key, item in value.items()}
    items = ResultItems()
    unreadable: list[str] = []
    for key in IMAGE_KEYS:
        nested = _read(by_key.get(key), "image", depth + 1)
        if key in _UNAMBIGUOUS or nested.sources:
            unreadable += nested.unreadable
        items.add(ResultItems(nested.sources, nested.texts))
        if nested.sources:  # other keys hold the same image in another form
            break
    for key in _TEXTS:
        items.add(_read(by_key.get(key), "text", depth + 1))
    if not items.sources:
        others = (item for key, item in by_key.items() if key not in (*IMAGE_KEYS, *_TEXTS, *_NEVER_RESULTS))
        items.add(ResultItems(_read(list(others), "", depth).sources))
        items.unreadable += unreadable[:1]
    return items


def _read_text(value: str, role: str, depth: int) -> ResultItems:
    text = value.strip()
    if text[:1] in ("[", "{", '"') and text[-1:] in ("]", "}", '"'):
        try:
            nested = _read(json.loads(text), role, depth + 1)
        except (ValueError, RecursionError):
            nested = ResultItems()
        if nested.sources or (nested.texts and role != "text"):
            return nested
    several = role != "text" and ("://" in text or text.find("data:", 1) > 0)
    if several and len(parts := _NEXT_ADDRESS.split(text)) > 1:
        return _read(parts, role, depth + 1)
    source = text if text[:5].lower() == "data:" or _BASE64.fullmatch(text) else _address(text)
    if source:
        return ResultItems([source])
    if role == "image" and re.match(r"https?:", text, re.IGNORECASE):
        return ResultItems(unreadable=[text])
    sources = [source for match in _IN_TEXT.finditer(text) if (source := _source_in(match))]
    if sources or role == "text":
        words = clean(_IN_TEXT.sub(lambda match: "" if _source_in(match) else match[0], text))
        return ResultItems(list(dict.fromkeys(sources)), [words] if words else [])
    return ResultItems(unreadable=[text] if text and role == "image" else [])


def _source_in(match: re.Match[str]) -> str | None:
    """Return the image that a match in a text leads to; None for a link to something else."""
    target = next((value for name in ("image", "html", "data", "url", "base64") if (value := match[name])), None)
    link: str | None = match["link"]
    if match["definition"] and "![" in match.string:
        target = match["definition"]
    if link and (link[:5].lower() == "data:" or re.search(_EXTENSION, link, re.IGNORECASE)):
        target = link
    if target is None or target[:5].lower() == "data:" or match["base64"]:
        return target
    return _address(target.replace("&amp;", "&") if match["html"] else target)


def _address(text: str) -> str | None:
    text = text.replace("\\/", "/")
    if text.startswith("//") or _HOST_WITHOUT_SCHEME.fullmatch(text):
        text = f"https://{text.removeprefix('//')}"
    return http_url(text)


def _encoded_bytes(value: Iterable[Any]) -> str | None:
    """Return a list of byte values, as some programs write a file into JSON, as a data URI."""
    numbers = list(value)
    if len(numbers) < 32 or not all(type(number) is int and 0 <= number <= 255 for number in numbers):
        return None
    return f"data:;base64,{base64.b64encode(bytes(numbers)).decode('ascii')}"


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())
