"""The program: ``nano-banana-mcp`` and ``python -m nano_banana_mcp``.

Plain stdio commands begin with the front, which answers discovery at once; everything else is the command line's.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def main() -> int:
    """Run the program and return its exit code."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_at_once)  # a KeyboardInterrupt would print a traceback of the imports
    from nano_banana_mcp.stdio.session import open_session

    session = None if _is_terminal() else open_session(sys.argv[1:], os.environ)
    if session is None:
        from nano_banana_mcp import cli

        return cli.main(before_run=_restore_interrupts)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_at_once)
    if not session.converse():
        return 0
    from nano_banana_mcp.stdio.handover import take_over

    try:
        return take_over(session, sandbox="--sandbox" in sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED


def _exit_at_once(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)


def _restore_interrupts() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again, for a command that cleans up."""
    if signal.getsignal(signal.SIGINT) is _exit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_terminal() -> bool:
    """Whether a person typed the command: no host types at a terminal."""
    try:
        return os.isatty(0)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
