"""Checks of names and links on Windows, where a file cannot be opened without following links."""

from __future__ import annotations

import os
import stat

_NAME_SURROGATE = 0x20000000
"""Bit of a reparse tag: the file stands for another one (IsReparseTagNameSurrogate in Microsoft's ntifs.h). Symbolic
links and junctions have it; files of a cloud drive, which have a tag as well, do not."""

_DEVICES = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"
}


def is_pointer(info: os.stat_result) -> bool:
    """Whether ``info``, a result of ``lstat``, is that of a link or junction."""
    return stat.S_ISLNK(info.st_mode) or bool(getattr(info, "st_reparse_tag", 0) & _NAME_SURROGATE)


def is_special(part: str) -> bool:
    """Whether Windows reads a component of a path as anything else than a file of that name.

    A stream in a file (``a:b``), a device (``nul.png``), or the name without the dots and spaces at its end.
    """
    return ":" in part or part.endswith((".", " ")) or part.partition(".")[0].rstrip(" ").upper() in _DEVICES
