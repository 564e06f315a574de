"""Shrinks an image in a short-lived process of its own.

Its memory is returned whole when it ends, and an image that attacks the decoder finds no keys there. The process runs
:mod:`nano_banana_mcp.images.resizing.resize`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import anyio
from anyio.lowlevel import RunVar

from nano_banana_mcp.images import errors
from nano_banana_mcp.images.errors import ImageUnavailable, NotAnImage
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.resizing.resize import PURPOSES, ShrunkImage

MAX_SECONDS = 20.0
MAX_WORKERS = 2
"""Workers at the same time. Each may take 400 MB for the largest image, 110 MB for one of 4096 x 4096."""

_CHUNK_BYTES = 65_536

_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT")
"""Environment variables that an interpreter needs to start."""

_workers: RunVar[anyio.CapacityLimiter] = RunVar("workers")


async def shrink_in_worker(
    image: EncodedImage,
    *,
    max_side: int,
    max_bytes: int,
    purpose: str = "view",
    max_seconds: float = MAX_SECONDS,
) -> ShrunkImage:
    """Run :func:`~nano_banana_mcp.images.resizing.resize.shrink` in another process.

    Args:
        max_side: Longest side in pixels.
        purpose: One of :data:`~nano_banana_mcp.images.resizing.resize.PURPOSES`.
        max_seconds: Timeout, without the time that it waits for other workers.

    Raises:
        ImageError: As there; or the process cannot be started, times out or crashes.
    """
    source = PURPOSES[purpose].source
    try:
        async with _limiter():
            with anyio.fail_after(max_seconds):
                code, answer = await _run(image.data, [image.mime_type, str(max_side), str(max_bytes), purpose])
    except TimeoutError:
        raise NotAnImage(f"{source} could not be decoded within {max_seconds:g} s.") from None
    except OSError:
        raise ImageUnavailable(
            f"{source} could not be shrunk: this machine starts no process for it.", hint="Try again in a moment."
        ) from None
    line, _, data = answer.partition(b"\n")
    if code != 0 or not line:
        raise NotAnImage(f"{source} could not be decoded.", hint="Use another picture.")
    header = json.loads(line)
    if "error" in header:
        raise getattr(errors, header["error"])(header["message"], hint=header["hint"])
    return ShrunkImage(
        data,
        header["mime_type"],
        tuple(header["size"]),
        tuple(header["original_size"]),
        image.mime_type,
        len(image.data),
        header["still"],
    )


def _limiter() -> anyio.CapacityLimiter:
    try:
        return _workers.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(MAX_WORKERS)
        _workers.set(limiter)
        return limiter


async def _run(data: bytes, arguments: list[str]) -> tuple[int, bytes]:
    # The modules of this process, without its working directory and environment.
    code = f"import sys; sys.path[:] = {sys.path!r}; from nano_banana_mcp.images.resizing.resize import main; main()"
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
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
            for start in range(0, len(data), _CHUNK_BYTES):  # one large write would copy all of it
                await stdin.send(bytes(view[start : start + _CHUNK_BYTES]))
            await stdin.aclose()
        except (anyio.BrokenResourceError, ConnectionError):
            pass  # it crashed; its exit code says so
        answer = b"".join([chunk async for chunk in stdout])
        return await process.wait(), answer
