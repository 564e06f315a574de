"""The accessibility audit (axe-core), by npm, in a folder that git ignores."""

from __future__ import annotations

from tests.support import npm

VERSION = "4.14.1"


def obtain() -> str:
    """The source of axe-core, installed first where it is missing.

    Raises:
        npm.PackageUnavailableError: there is no npm, or it cannot install.
    """
    return (npm.packages("axe", {"axe-core": VERSION}) / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
