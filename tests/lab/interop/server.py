"""The server over stdio, as hosts start it; it also writes down the request that ended its instant start.

The environment variable ``HANDOVER_FILE`` names the file for the method of that request.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from nano_banana_mcp import __main__ as program
from nano_banana_mcp.stdio import handover
from nano_banana_mcp.stdio.session import Session

VARIABLE = "HANDOVER_FILE"


def main() -> int:
    """Run the program."""
    take_over = handover.take_over

    def noted(session: Session, **options: Any) -> int:
        Path(os.environ[VARIABLE]).write_text(json.loads(session.held)["method"], encoding="utf-8")
        return take_over(session, **options)

    handover.take_over = noted
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
