"""The User-Agent of all requests."""

from __future__ import annotations

from nano_banana_mcp import __version__

USER_AGENT = f"Mozilla/5.0 (compatible; nano-banana-mcp/{__version__})"
"""Some hosts of images answer 403 to the default User-Agent of a library."""
