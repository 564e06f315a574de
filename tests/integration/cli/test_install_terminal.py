"""`install` in a real terminal: how it asks for the key, the folder and the consent."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.clients import KEY, clean_environment
from tests.support.install_files import listing
from tests.support.posix import posix_only


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with Cursor, which has no configuration yet."""
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    folder = tmp_path / "home"
    (folder / ".cursor").mkdir(parents=True)
    return folder


@contextmanager
def asking(home: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`install cursor` in a terminal of its own, and the other end of that terminal."""
    import pty

    leader, follower = pty.openpty()
    environment = {**clean_environment(), "HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-m", "nano_banana_mcp", "install", "cursor"],
        stdin=follower, stdout=follower, stderr=follower, env=environment, cwd=home, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(follower)
        yield process, leader
    os.close(leader)


@posix_only
def test_the_key_is_asked_for_without_echo_in_a_real_terminal(home: Path) -> None:
    with asking(home) as (process, leader):
        said = until(leader, "API key (not shown): ")
        os.write(leader, f"{KEY}\n".encode())
        said += until(leader, "[Y/n, or another folder] ")
        os.write(leader, f"{home / 'art'}\n".encode())
        said += until(leader, "[y/N] ")
        os.write(leader, b"y\n")
        said += until(leader, "the entry starts the server")
        assert process.wait(60) == 0
    assert KEY not in said
    assert "https://defapi.org" in said
    entry = json.loads((home / ".cursor" / "mcp.json").read_text())["mcpServers"]["nano-banana"]
    assert entry["env"] == {"NANO_BANANA_OUTPUT_DIR": str(home / "art"), "DEFAPI_API_KEY": KEY}


@posix_only
@pytest.mark.parametrize("typed", [b"\x04", b"sk-0123456789\n"])
def test_no_key_or_none_that_can_be_one_ends_with_a_sentence(typed: bytes, home: Path) -> None:
    with asking(home) as (process, leader):
        said = until(leader, "API key (not shown): ")
        os.write(leader, typed)
        said += until(leader, "nano-banana-mcp install: ")
        assert process.wait(60) == 1
    assert "Traceback" not in said
    assert listing(home) == {}


def until(leader: int, words: str) -> str:
    said = b""
    while words.encode() not in said:
        ready, _, _ = select.select([leader], [], [], 60)
        assert ready, said
        said += os.read(leader, 4096)
    return said.decode()
