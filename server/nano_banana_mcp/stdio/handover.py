"""The handover: the real server is imported, and goes on where the front stopped."""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path

from nano_banana_mcp.stdio.session import Session, standard_session

START_FAILED = 1


def start_at_once(*, sandbox: bool = False, env_file: Path | None = None) -> int:
    """Serve standard input and output with the real server from the first message on, and return the exit code."""
    return take_over(standard_session({}, os.environ), sandbox=sandbox, env_file=env_file)


def take_over(session: Session, *, sandbox: bool = False, env_file: Path | None = None) -> int:
    """Serve a session with the real server until its end, and return the exit code.

    Args:
        session: With the line that the front held.
        sandbox: Whether the command line asks for the sandbox.
        env_file: File of settings that the command line names.
    """
    try:
        from nano_banana_mcp.stdio import server  # the SDK and everything else: most of a second

        server.serve(session, sandbox=sandbox, env_file=env_file)
    except Exception as error:  # noqa: BLE001 - the edge of the process: the client must learn the reason
        traceback.print_exc()
        if not session.was_answered:
            _answer_with(session, error)
        return START_FAILED
    return 0


def _answer_with(session: Session, error: BaseException) -> None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    with contextlib.suppress(OSError):  # the client has gone
        session.fail(
            f"nano-banana-mcp could not start ({reason}). Nothing was sent to the API, so nothing was charged. "
            "Install the server again, or see its messages on stderr, and restart it."
        )
