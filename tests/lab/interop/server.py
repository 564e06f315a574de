"""The server over stdio, as hosts start it; it also writes down the request that ended its instant start.

The file ``handover`` beside the state folder takes the method of that request as a line.
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

FILE = "handover"


def main() -> int:
    """Run the program."""
    take_over = handover.take_over

    def noted(session: Session, **options: Any) -> int:
        with Path(os.environ["NANO_BANANA_STATE_DIR"]).with_name(FILE).open("a", encoding="utf-8") as file:
            file.write(json.loads(session.held)["method"] + "\n")
        return take_over(session, **options)

    handover.take_over = noted
    return program.main()


if __name__ == "__main__":
    sys.exit(main())
