"""What the short-lived process runs: a picture on stdin, one line of JSON and the smaller picture on stdout.

It is started for every picture, so it imports little.
"""

from __future__ import annotations

import json
import sys

from nano_banana_mcp.images.errors import PictureError
from nano_banana_mcp.images.picture import Picture
from nano_banana_mcp.images.shrink import shrink


def main() -> None:
    """The whole process. Its arguments: the MIME type, the longest side and the most bytes wanted, and what for."""
    mime_type, max_side, max_bytes, purpose = sys.argv[1:]
    answer = b""
    try:
        picture = Picture(sys.stdin.buffer.read(), mime_type)
        small = shrink(picture, max_side=int(max_side), max_bytes=int(max_bytes), purpose=purpose)
        answer = small.data
        told = {
            "mime_type": small.mime_type,
            "size": small.size,
            "original_size": small.original_size,
            "still": small.still,
        }
    except PictureError as error:
        told = {"error": type(error).__name__, "message": error.message, "hint": error.hint}
    sys.stdout.buffer.write(json.dumps(told).encode() + b"\n" + answer)
