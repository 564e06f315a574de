"""What a picture is, written into its file: beside the pixels, which stay as they are, byte for byte.

PNG gets text chunks and XMP, JPEG and WebP get XMP; GIF and others nothing. A file that is not understood, or that
carries XMP or a signature over all of its bytes (C2PA) already, stays as it is.
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

_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\0"
_XMP_PNG = "XML:com.adobe.xmp"
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_MAX_PARTS = 100_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What there is to say of a picture.

    Attributes:
        number: Which of the task's pictures, from 0.
        created_at: When it was asked for, Unix seconds.
        drawn: Whether the sandbox drew it, and no model made it.
    """

    task_id: str
    number: int
    created_at: float
    prompt: str | None = None
    model: str | None = None
    url: str | None = None
    credits: str | None = None
    drawn: bool = False

    @property
    def when(self) -> str:
        """``created_at`` in ISO 8601, UTC."""
        return datetime.fromtimestamp(self.created_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def software(self) -> str:
        """What made it."""
        return "nano-banana-mcp (sandbox)" if self.drawn else "nano-banana-mcp"

    def prompt_within(self, most_bytes: int) -> str:
        """The prompt without what no text may hold, cut to so many bytes of UTF-8."""
        text = "".join(letter if _printable(letter) else " " for letter in self.prompt or "")
        encoded = text.encode()
        return text if len(encoded) <= most_bytes else encoded[: most_bytes - 3].decode(errors="ignore") + "…"


def with_facts(encoded: EncodedImage, facts: Facts) -> bytes:
    """The bytes of ``encoded`` with ``facts`` in them, or as they are where that cannot be."""
    writer = _WRITERS.get(encoded.mime_type)
    if writer is None:
        return encoded.data
    try:
        return writer(encoded.data, facts) or encoded.data
    except (struct.error, IndexError, ValueError):
        return encoded.data


def xmp(facts: Facts) -> bytes:
    """The facts as an XMP packet, with the IPTC's properties for generated pictures."""
    values = {
        "dc:identifier": facts.task_id,
        "xmp:CreateDate": facts.when,
        "xmp:CreatorTool": facts.software,
        "Iptc4xmpExt:DigitalSourceType": _SOURCE_TYPES
        + ("algorithmicMedia" if facts.drawn else "trainedAlgorithmicMedia"),
        "Iptc4xmpExt:AISystemUsed": _plain(facts.model),
        "Iptc4xmpExt:AIPromptInformation": facts.prompt_within(MAX_PROMPT_BYTES),
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


def _png(data: bytes, facts: Facts) -> bytes | None:
    kinds = [kind for kind, _ in _png_chunks(data)]
    if kinds[:1] != [b"IHDR"] or kinds[-1] != b"IEND" or b"IDAT" not in kinds or b"caBX" in kinds:
        return None
    texts = {
        "Description": facts.prompt_within(MAX_PROMPT_BYTES),
        "Model": _plain(facts.model),
        "Task ID": facts.task_id,
        "Creation Time": facts.when,
        "Software": facts.software,
    }
    if not any(kind == b"iTXt" and data[at : at + 17] == _XMP_PNG.encode() for kind, at in _png_chunks(data)):
        texts[_XMP_PNG] = xmp(facts).decode()
    after_header = 8 + 8 + 13 + 4
    return data[:after_header] + b"".join(_itxt(*text) for text in texts.items() if text[1]) + data[after_header:]


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Kind and place of each chunk's content, up to the end; what comes after it is nobody's."""
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


def _jpeg(data: bytes, facts: Facts) -> bytes | None:
    content = _XMP_JPEG + xmp(facts)
    if len(content) > 0xFFFF - 2:
        return None
    place = 2
    at = 2
    for _ in range(_MAX_PARTS):
        marker, length = struct.unpack_from(">HH", data, at)
        if marker == 0xFFDA:
            return data[:place] + struct.pack(">HH", 0xFFE1, len(content) + 2) + content + data[place:]
        segment = data[at + 4 : at + 2 + length]
        if not 0xFFC0 <= marker <= 0xFFFE or length < 2 or len(segment) != length - 2:
            return None
        if (marker == 0xFFE1 and segment.startswith(_XMP_JPEG)) or (marker == 0xFFEB and segment.startswith(b"JP")):
            return None
        at += 2 + length
        # JFIF wants to be the very first, and readers look for Exif right behind it.
        if place + 2 + length == at and (marker == 0xFFE0 or (marker == 0xFFE1 and segment.startswith(b"Exif"))):
            place = at
    return None


def _webp(data: bytes, facts: Facts) -> bytes | None:
    chunks = list(_webp_chunks(data))
    kinds = [kind for kind, _ in chunks]
    if b"XMP " in kinds or b"C2PA" in kinds:
        return None
    if kinds[0] == b"VP8X":
        flags = chunks[0][1]
        chunks[0] = (b"VP8X", bytes([flags[0] | _WEBP_HAS_XMP]) + flags[1:])
    elif kinds[0] in (b"VP8 ", b"VP8L"):
        chunks.insert(0, (b"VP8X", _webp_header(*chunks[0])))
    else:
        return None
    chunks.append((b"XMP ", xmp(facts)))
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


_WEBP_HAS_XMP, _WEBP_HAS_ALPHA = 0x04, 0x10


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    (size,) = struct.unpack_from("<I", data, 4)
    end = size + 8
    if end != len(data):
        raise ValueError
    at = 12
    while at < end:
        kind, length = struct.unpack_from("<4sI", data, at)
        content = data[at + 8 : at + 8 + length]
        if len(content) != length:
            raise ValueError
        yield kind, content
        at += 8 + length + length % 2
    if at != end:
        raise ValueError


def _webp_header(kind: bytes, content: bytes) -> bytes:
    """The extended header that a simple file has none of: flags, and the size of the canvas."""
    flags = _WEBP_HAS_XMP
    if kind == b"VP8L":
        if content[0] != 0x2F:
            raise ValueError
        (bits,) = struct.unpack_from("<I", content, 1)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        flags |= _WEBP_HAS_ALPHA if bits >> 28 & 1 else 0
    else:
        if content[3:6] != b"\x9d\x01\x2a":
            raise ValueError
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", content, 6))
    if not width or not height:
        raise ValueError
    return bytes([flags, 0, 0, 0]) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]


def _printable(letter: str) -> bool:
    return letter.isprintable() or letter in "\n\u200c\u200d"  # the last two join letters, or keep them apart


def _plain(text: str | None) -> str:
    return "".join(letter for letter in text or "" if letter.isprintable())


_WRITERS: dict[str, Callable[[bytes, Facts], bytes | None]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
}
