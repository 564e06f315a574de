"""Pages that a host shows in the conversation (MCP Apps).

Each is served as one whole file, put together when somebody asks for it: ``shared.html`` has the style and the talk
with the host that all have in common.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent


def page(name: str) -> str:
    """``picture``: a generation, waiting, its pictures, or why there is none. ``gallery``: what was made, newest first;
    also served on this machine by ``nano-banana-mcp gallery``."""
    own, shared = ((_FOLDER / f"{file}.html").read_text(encoding="utf-8") for file in (name, "shared"))
    return own.replace("<!-- shared.html -->\n", shared)
