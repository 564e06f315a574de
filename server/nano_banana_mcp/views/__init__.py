"""Pages that a host shows in the conversation (MCP Apps): each is one whole file, read when a host asks for it."""

from pathlib import Path

PICTURE = Path(__file__).with_name("picture.html")
"""A generation: waiting, its pictures, or why there is none."""

GALLERY = Path(__file__).with_name("gallery.html")
"""What was made, newest first; also served on this machine by ``nano-banana-mcp gallery``."""
