"""The HTML pages for MCP Apps and the gallery; each includes ``shared.html``, and is served as one whole file."""

import base64
import hashlib
import re
from pathlib import Path

_FOLDER = Path(__file__).parent
_PART = re.compile(r"<!-- (\w+\.html) -->\n")
ICON = _FOLDER / "icon.png"
"""The server's icon, 512 x 512 pixels."""


def content_policy(html: str) -> str:
    """Return a content-security policy that allows only the script and style of the page itself."""
    sources = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
            for content in re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        )
        for kind in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {sources['script']}; style-src {sources['style']}; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def page(name: str) -> str:
    """``picture``: a generation, waiting, its pictures, or why it failed. ``gallery``: what was made, newest first;
    also served on this machine by ``nano-banana-mcp gallery``."""
    return _PART.sub(lambda part: _read(part[1]), _read(f"{name}.html"))


def _read(file: str) -> str:
    return (_FOLDER / file).read_text(encoding="utf-8")
