"""Chromium for the tests of the views: this machine's own, or Debian's, installed where that can be done.

The headless shell opens a page for a fifth of the processor time that the whole browser takes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.in_turn import in_turn

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

_SCRIPT = Path(__file__).with_name("install_chromium.sh")
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_INSTALL_SECONDS = 300


class NoChromiumError(Exception):
    """Chromium is missing and cannot be installed. The text gives the reason in one line."""


def obtain() -> str:
    """The path of Chromium, installed first where it is missing.

    Raises:
        NoChromiumError: it cannot be had here.
    """
    with in_turn("chromium"):
        if (path := _found()) is None:
            _install()
            path = _found()
    if path is None:
        raise NoChromiumError("it was installed and still cannot be found")
    return path


def has_korean_font() -> bool:
    """Whether Korean letters are drawn as such, and not as boxes."""
    lister = shutil.which("fc-list")
    return lister is None or bool(subprocess.run([lister, ":lang=ko"], capture_output=True, check=False).stdout)


def _found() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    if sys.platform != "linux" or shutil.which("apt-get") is None or os.getuid() != 0:
        raise NoChromiumError("it is missing, and only root on a system with apt-get can install it")
    try:
        ended = subprocess.run(
            [_SCRIPT], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise NoChromiumError(f"apt-get did not install it within {_INSTALL_SECONDS} s") from None
    if ended.returncode != 0:
        raise NoChromiumError(f"apt-get cannot install it: {(ended.stderr.splitlines() or ['?'])[-1][:200]}")
