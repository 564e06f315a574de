"""Does a picture break off? HTTP does not always tell: without a length, an answer ends with its connection."""

from __future__ import annotations

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def breaks_off(data: bytes, mime_type: str) -> bool:
    """Whether the format itself says that more should follow. Of formats that do not say, and of what is not understood
    here, that is not said.
    """
    match mime_type:
        case "image/png":
            return _png_breaks_off(data)
        case "image/jpeg":
            # After the last scan begins, its end has to come. Previews within have scans and ends of their own.
            scan = data.rfind(b"\xff\xda")
            return scan >= 0 and data.find(b"\xff\xd9", scan) < 0
        case "image/webp":
            return len(data) < 8 + int.from_bytes(data[4:8], "little")
    return False


def _png_breaks_off(data: bytes) -> bool:
    place = len(PNG_MAGIC)
    if data[place + 4 : place + 8] != b"IHDR":
        return False
    while place + 8 <= len(data):
        if data[place + 4 : place + 8] == b"IEND":
            return False
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return True
