"""Sandboxes whose images have one colour, which costs little to draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any

from anyio.from_thread import start_blocking_portal

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.server import serve_sandbox


def plain_config(**options: Any) -> SandboxConfig:
    """The configuration of such a sandbox.

    Args:
        options: Of :class:`SandboxConfig`.
    """
    return SandboxConfig(art="plain", **options)


def plain_sandbox(**options: Any) -> AbstractAsyncContextManager[Sandbox]:
    """Serve such a sandbox while the block runs.

    Args:
        options: Of :class:`SandboxConfig`.
    """
    return serve_sandbox(plain_config(**options))


@contextmanager
def sandbox_thread(**options: Any) -> Iterator[Sandbox]:
    """Serve such a sandbox in another thread while the block runs, for a test without an event loop.

    Args:
        options: Of :class:`SandboxConfig`.
    """
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(plain_sandbox(**options)) as sandbox:
        yield sandbox
