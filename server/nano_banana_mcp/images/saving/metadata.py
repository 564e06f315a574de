"""Writes prompt, model and task into the file of an image, beside the pixels, which stay unchanged.

PNG gets text chunks and XMP, JPEG gets XMP, other formats nothing. A file with an unknown structure, or one that has
XMP or a signature over all of its bytes (C2PA) already, stays as it is.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from nano_banana_mcp.images.image import EncodedImage

MAX_PROMPT_BYTES = 12_000
"""UTF-8 bytes of the prompt in a file."""

_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_PNG = "XML:com.adobe.xmp"
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_MAX_PARTS = 100_000
"""Chunks or segments of one file."""


@dataclass(frozen=True, slots=True)
class ImageMetadata:
    """What is written into the file of an image, and into the folder's index.

    Attributes:
        number: Number of the image in its task, from 0.
        created_at: When it was requested, Unix seconds.
        save_as: Name of the file without extension that the caller chose; None for one of this server's.
        is_from_sandbox: Whether the sandbox drew it, and no model made it.
    """

    task_id: str
    number: int
    created_at: float
    prompt: str | None = None
    model: str | None = None
    url: str | None = None
    credits: str | None = None
    save_as: str | None = None
    is_from_sandbox: bool = False

    @property
    def created(self) -> str:
        """``created_at`` in ISO 8601, UTC."""
        return datetime.fromtimestamp(self.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def software(self) -> str:
        """The software that made it."""
        return "nano-banana-mcp (sandbox)" if self.is_from_sandbox else "nano-banana-mcp"

    def prompt_within(self, max_bytes: int) -> str:
        """Return the prompt without control characters, cut to ``max_bytes`` of UTF-8."""
        text = "".join(letter if _is_printable(letter) else " " for letter in self.prompt or "")
        encoded = text.encode()
        return text if len(encoded) <= max_bytes else encoded[: max_bytes - 3].decode(errors="ignore") + "…"


def embed_metadata(image: EncodedImage, metadata: ImageMetadata) -> bytes:
    """Return the image's bytes with its metadata in them, or unchanged where they cannot hold it."""
    writer = _WRITERS.get(image.mime_type)
    if writer is None:
        return image.data
    try:
        return writer(image.data, metadata) or image.data
    except (struct.error, IndexError, ValueError):
        return image.data


def xmp(metadata: ImageMetadata) -> bytes:
    """Return the metadata as an XMP packet, with IPTC's properties for generated images."""
    values = {
        "dc:identifier": metadata.task_id,
        "xmp:CreateDate": metadata.created,
        "xmp:CreatorTool": metadata.software,
        "Iptc4xmpExt:DigitalSourceType": _SOURCE_TYPES
        + ("algorithmicMedia" if metadata.is_from_sandbox else "trainedAlgorithmicMedia"),
        "Iptc4xmpExt:AISystemUsed": _single_line(metadata.model),
        "Iptc4xmpExt:AIPromptInformation": metadata.prompt_within(MAX_PROMPT_BYTES),
    }
    lines = [f"<{name}>{escape(value)}</{name}>" for name, value in values.items() if value]
    if prompt := values["Iptc4xmpExt:AIPromptInformation"]:
        text = f'<rdf:li xml:lang="x-default">{escape(prompt)}</rdf:li>'
        lines.append(f"<dc:description><rdf:Alt>{text}</rdf:Alt></dc:description>")
    packet = "\n".join(
        [
            '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>',
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">',
            '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
            ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">',
            *lines,
            "</rdf:Description></rdf:RDF></x:xmpmeta>",
            '<?xpacket end="w"?>',
        ]
    )
    return packet.encode()


def _png(data: bytes, metadata: ImageMetadata) -> bytes | None:
    kinds = [kind for kind, _ in _png_chunks(data)]
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds or b"caBX" in kinds:
        return None
    texts = {
        "Description": metadata.prompt_within(MAX_PROMPT_BYTES),
        "Model": _single_line(metadata.model),
        "Task ID": metadata.task_id,
        "Creation Time": metadata.created,
        "Software": metadata.software,
    }
    if not any(kind == b"iTXt" and data[at : at + 17] == _XMP_PNG.encode() for kind, at in _png_chunks(data)):
        texts[_XMP_PNG] = xmp(metadata).decode()
    after_header = 8 + 8 + 13 + 4
    return data[:after_header] + b"".join(_itxt(*text) for text in texts.items() if text[1]) + data[after_header:]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Yield kind and position of each chunk's content, up to the end chunk."""
    at = 8
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + length + 12 > len(data) or not kind.isalpha() or (kind == b"IHDR" and length != 13):
            raise ValueError
        yield kind, at + 8
        if kind == b"IEND":
            return
        at += length + 12
    raise ValueError


def _itxt(keyword: str, text: str) -> bytes:
    content = keyword.encode("latin-1") + b"\0\0\0\0\0" + text.encode()
    return struct.pack(">I", len(content)) + b"iTXt" + content + struct.pack(">I", zlib.crc32(b"iTXt" + content))


def _jpeg(data: bytes, metadata: ImageMetadata) -> bytes | None:
    content = _XMP_JPEG + xmp(metadata)
    if len(content) > 0xFFFF - 2:
        return None
    insert_at = 2
    at = 2
    for _ in range(_MAX_PARTS):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == 0xFFDA:
            return data[:insert_at] + struct.pack(">HH", 0xFFE1, len(content) + 2) + content + data[insert_at:]
        segment = data[at + 4 : at + 2 + length]
        if not 0xFFC0 <= marker <= 0xFFFE or length < 2 or len(segment) != length - 2:
            return None
        if (marker == 0xFFE1 and segment.startswith(_XMP_JPEG)) or (marker == 0xFFEB and segment.startswith(b"JP")):
            return None
        at += 2 + length
        # JFIF must be the first segment, and readers look for Exif right after it.
        if insert_at + 2 + length == at and (marker == 0xFFE0 or (marker == 0xFFE1 and segment.startswith(b"Exif"))):
            insert_at = at
    return None


def _is_printable(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\u200c\u200d"  # the last two join letters, or keep them apart


def _single_line(text: str | None) -> str:
    return "".join(letter for letter in text or "" if letter.isprintable())


_WRITERS: dict[str, Callable[[bytes, ImageMetadata], bytes | None]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
}
