"""The program: ``nano-banana-mcp`` and ``python -m nano_banana_mcp``.

Plain stdio commands begin with the front, which answers discovery at once; everything else is the command line's.
"""

from __future__ import annotations

import os
import signal
import sys

from nano_banana_mcp.stdio.session import open_session

INTERRUPTED = 130


def main() -> int:
    """Run the program and return its exit code."""
    session = None if _is_terminal() else open_session(sys.argv[1:], os.environ)
    if session is None:
        from nano_banana_mcp import cli

        return cli.main()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os._exit(128 + number))
    if not session.converse():
        return 0
    from nano_banana_mcp.stdio.handover import take_over

    try:
        return take_over(session, sandbox="--sandbox" in sys.argv[1:])
    except KeyboardInterrupt:
        return INTERRUPTED


def _is_terminal() -> bool:
    """Whether a person typed the command: no host types at a terminal."""
    try:
        return os.isatty(0)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
