"""``python -m nano_banana_mcp`` is ``nano-banana-mcp``."""

import sys

from nano_banana_mcp.cli import main

if __name__ == "__main__":
    sys.exit(main())
