"""Which folders of this machine a studio may use, and who may know."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """Folders. By default there are none.

    Attributes:
        output: Where finished pictures are saved; None: nowhere.
        output_shown: Whether callers may be told where that is.
        inputs: Where reference pictures may be read from. None where callers are not on this machine: then a path
            is refused before any disk is touched.
        reference_side: Longest side of a reference picture from disk, in pixels; a longer one is shrunk.
    """

    output: Path | None = None
    output_shown: bool = False
    inputs: tuple[Path, ...] | None = None
    reference_side: int = 2048
