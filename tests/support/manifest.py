"""``python -m tests.support.manifest`` writes the manifest of the front anew, from the real server."""

from __future__ import annotations

from pathlib import Path

import anyio

from nano_banana_mcp.stdio import manifest
from nano_banana_mcp.stdio.manifest_builder import build_answers, write

if __name__ == "__main__":
    write(Path(manifest.SHIPPED_PATH), anyio.run(build_answers), manifest.installed_versions(), mode=0o644)
