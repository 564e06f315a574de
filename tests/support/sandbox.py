"""Sandboxes whose images have one colour, which costs little to draw."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

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
