"""Shrinking in a short-lived process of its own: its memory is given back whole, and what a picture that was made to
do harm does to a decoder stays in there, without the server's keys.

What runs there is :mod:`nano_banana_mcp.images.resizing.resize`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anyio

from nano_banana_mcp.images import errors
from nano_banana_mcp.images.errors import ImageUnavailable, NotAnImage
from nano_banana_mcp.images.image import EncodedImage, give_back_large_blocks
from nano_banana_mcp.images.resizing.resize import PURPOSES, Shrunk

MAX_SECONDS = 20.0
_CHUNK_BYTES = 65_536

_NEEDED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""What an interpreter needs to start, of the environment."""


async def shrink_aside(
    encoded: EncodedImage,
    *,
    max_side: int,
    max_bytes: int,
    purpose: str = "view",
    longest_seconds: float = MAX_SECONDS,
) -> Shrunk:
    """:func:`~nano_banana_mcp.images.resizing.resize.shrink` in another process.

    Raises:
        ImageError: as there; or no process can be started; or it takes too long, or crashes.
    """
    give_back_large_blocks()
    source = PURPOSES[purpose].source
    try:
        with anyio.fail_after(longest_seconds):
            code, answer = await _run(encoded.data, [encoded.mime_type, str(max_side), str(max_bytes), purpose])
    except TimeoutError:
        raise NotAnImage(f"{source} could not be decoded within {longest_seconds:g} s.") from None
    except OSError:
        raise ImageUnavailable(
            f"{source} could not be shrunk: this machine starts no process for it.", hint="Try again in a moment."
        ) from None
    head, _, data = answer.partition(b"\n")
    if code != 0 or not head:
        raise NotAnImage(f"{source} could not be decoded.", hint="Use another picture.")
    told = json.loads(head)
    if "error" in told:
        raise getattr(errors, told["error"])(told["message"], hint=told["hint"])
    return Shrunk(
        data,
        told["mime_type"],
        tuple(told["size"]),
        tuple(told["original_size"]),
        encoded.mime_type,
        len(encoded.data),
        told["still"],
    )


async def _run(data: bytes, arguments: list[str]) -> tuple[int, bytes]:
    # The same modules as here, and nothing of the folder or the environment that the server was started in.
    code = f"import sys; sys.path[:] = {sys.path!r}; from nano_banana_mcp.images.resizing.resize import main; main()"
    environment = {name: os.environ[name] for name in _NEEDED if name in os.environ}
    async with await anyio.open_process(
        [sys.executable, "-I", "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None
        view = memoryview(data)
        try:
            for start in range(0, len(data), _CHUNK_BYTES):  # at once, it would be copied at once
                await stdin.send(bytes(view[start : start + _CHUNK_BYTES]))
            await stdin.aclose()
        except (anyio.BrokenResourceError, ConnectionError):
            pass  # it has crashed, as its exit code will say
        answer = b"".join([chunk async for chunk in stdout])
        return await process.wait(), answer
