"""What stands in, on Windows, for opening a file without following links: looking at the name first."""

from __future__ import annotations

import os
import stat

_NAME_SURROGATE = 0x20000000
"""In a reparse tag: what has it stands for another file or folder (IsReparseTagNameSurrogate in Microsoft's ntifs.h).
Symbolic links and junctions do; the files of a cloud drive, which have a tag as well, do not."""

_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"
}


def is_pointer(found: os.stat_result) -> bool:
    """Whether what ``lstat`` has found leads elsewhere."""
    return stat.S_ISLNK(found.st_mode) or bool(getattr(found, "st_reparse_tag", 0) & _NAME_SURROGATE)


def is_special(part: str) -> bool:
    """Whether Windows takes a part of a path for something else than a file of that name.

    A stream in a file (``a:b``), a device (``nul.png``), or the name without the dots and spaces at its end.
    """
    return ":" in part or part.endswith((".", " ")) or part.partition(".")[0].rstrip(" ").upper() in _DEVICES
