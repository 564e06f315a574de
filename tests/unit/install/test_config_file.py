"""The configuration file itself: links, modes, back-ups, races and refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nano_banana_mcp.install.config_file import read_config, replace
from nano_banana_mcp.install.errors import Refused
from tests.support.install_files import Run, listing

posix = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")


def _file(home: Path, text: str = "{}\n") -> Path:
    file = home / "there" / "mcp.json"
    file.parent.mkdir()
    file.write_text(text)
    return file


@posix
def test_a_link_stays_and_its_target_is_replaced(run: Run, home: Path) -> None:
    file = _file(home)
    link = home / "link.json"
    link.symlink_to(file)
    assert run("install", "cursor", "--config", link, "--yes")[0] == 0
    assert link.is_symlink()
    assert "nano-banana" in file.read_text()
    assert run("uninstall", "cursor", "--config", link, "--yes")[0] == 0
    assert link.is_symlink()
    assert file.read_text() == "{}\n"


@posix
def test_a_link_to_nothing_stays_and_leads_to_the_new_file(run: Run, home: Path) -> None:
    link = home / "link.json"
    link.symlink_to(home / "dotfiles" / "mcp.json")
    assert run("install", "cursor", "--config", link, "--yes")[0] == 0
    assert link.is_symlink()
    assert "nano-banana" in (home / "dotfiles" / "mcp.json").read_text()


@posix
def test_links_in_a_circle_and_folders_are_refused(run: Run, home: Path) -> None:
    one, other = home / "one", home / "other"
    one.symlink_to(other)
    other.symlink_to(one)
    for path in (one, home):
        code, said = run("install", "cursor", "--config", path, "--yes")
        assert code == 1
        assert str(path) in said


@posix
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_read_only_file_is_refused_with_a_message_and_nothing_is_changed(run: Run, home: Path, what: str) -> None:
    file = _file(home)
    locked = file if what == "file" else file.parent
    mode = locked.stat().st_mode
    locked.chmod(0o444 if what == "file" else 0o555)
    before = listing(home)
    code, said = run("install", "cursor", "--config", file, "--yes")
    assert code == 1
    assert "read-only" in said
    assert listing(home) == before
    locked.chmod(mode)


@posix
def test_the_mode_is_kept_and_readers_of_the_key_are_named(run: Run, home: Path) -> None:
    file = _file(home)
    for mode, warned in ((0o644, True), (0o600, False)):
        file.chmod(mode)
        _, said = run("install", "cursor", "--config", file, "--yes", "--store-key")
        assert file.stat().st_mode & 0o777 == mode
        assert ("chmod 600" in said) == warned
        run("uninstall", "cursor", "--config", file, "--yes")
    assert all(backup.stat().st_mode & 0o777 in (0o644, 0o600) for backup in file.parent.iterdir())


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_whose_owner_would_change_is_left_alone(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(home)
    os.chown(file, 1234, 2345)
    before = listing(home)
    give = os.chown

    def not_mine(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", not_mine)
    code, said = run("install", "cursor", "--config", file, "--yes")
    assert code == 1
    assert "owner" in said
    assert listing(home) == before
    monkeypatch.setattr(os, "chown", give)
    assert run("install", "cursor", "--config", file, "--yes")[0] == 0
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 2345)


def test_a_huge_file_is_refused_before_it_is_read(run: Run, home: Path) -> None:
    file = _file(home)
    with file.open("r+b") as opened:
        opened.truncate(10_000_000_000)
    code, said = run("install", "cursor", "--config", file, "--yes")
    assert code == 1
    assert "10000 MB" in said


def test_no_back_up_overwrites_another(run: Run, home: Path) -> None:
    file = _file(home)
    for _ in range(3):
        run("install", "cursor", "--config", file, "--yes")
        run("uninstall", "cursor", "--config", file, "--yes")
    assert len(list(file.parent.glob("mcp.json.*.bak"))) == 6


def test_a_change_by_another_program_in_the_meantime_is_not_lost(home: Path) -> None:
    file = _file(home)
    config = read_config(file, 1000)
    file.write_text('{"written": "meanwhile"}\n')
    before = listing(home)
    with pytest.raises(Refused, match="in the meantime"):
        replace(config, b"{}")
    assert listing(home) == before


def test_a_change_by_another_program_at_the_last_moment_is_not_lost(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = _file(home)
    config = read_config(file, 1000)
    # The host writes while we wait for the disk.
    monkeypatch.setattr(os, "fsync", lambda _: file.write_text('{"written": "meanwhile"}\n'))
    with pytest.raises(Refused, match="in the meantime"):
        replace(config, b"{}")
    assert listing(home) == {"there/mcp.json": b'{"written": "meanwhile"}\n'}


def test_a_full_disk_leaves_the_file_as_it_was(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = _file(home)
    before = listing(home)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, said = run("install", "cursor", "--config", file, "--yes")
    assert code == 1
    assert "No space left" in said
    assert listing(home) == before, "half a back-up is none"


def test_a_file_of_only_other_things_keeps_them_when_the_host_rewrote_it(run: Run, home: Path) -> None:
    file = _file(home, '{"theme": "dark"}')
    run("install", "claude-code", "--config", file, "--yes")
    value = json.loads(file.read_text())
    file.write_text(json.dumps({**value, "visits": 3}, indent=4))
    assert run("uninstall", "claude-code", "--config", file, "--yes")[0] == 0
    assert json.loads(file.read_text()) == {"theme": "dark", "mcpServers": {}, "visits": 3}
