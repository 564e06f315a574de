"""A lean start over stdio: what the SDK loads and builds, and such a server never needs, is left out or put off.

All of it is the process's own business: it happens before there is a second thread, ends with the block, and where a
new version of a library goes another way, the start is slower and nothing else. CONTRIBUTING.md has the figures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import BaseModel

HIDDEN = ("rich.console", "uvicorn.main")
"""Both are optional to those who ask for them, who take an ImportError for "not installed": the SDK would log through
Rich, which our own logging would replace, and sse-starlette tells uvicorn's end to streams, of which stdio has none."""


@contextmanager
def lean_imports() -> Iterator[None]:
    """Within the block :data:`HIDDEN` cannot be imported, and models of pydantic are built when they are first used.

    The SDK has some five hundred models, two or three for each message of each revision of the protocol; a client
    speaks one revision, and a few of its messages.
    """
    hidden = [name for name in HIDDEN if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None is documented: the import fails
    BaseModel.model_config["defer_build"] = True
    try:
        yield
    finally:
        del BaseModel.model_config["defer_build"]
        for name in hidden:
            del sys.modules[name]
