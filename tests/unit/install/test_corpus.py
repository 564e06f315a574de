"""`install` and `uninstall` over many configuration files, of every host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nano_banana_mcp.install.hosts import HOSTS, Host
from tests.support.clients import KEY
from tests.support.install_corpus import BOM, CASES, Case
from tests.support.install_files import Run, listing, parsed, without

_HOSTS = [HOSTS[name] for name in ("cursor", "vscode", "codex", "goose")]
"""Each format and the host with inputs; the other hosts differ only in the entry itself."""
ALL = [(host, case) for host in _HOSTS for case in CASES[host.form]]
GOOD = [pytest.param(host, case, id=f"{host.id}-{case.name}") for host, case in ALL if case.fault is None]
BROKEN = [pytest.param(host, case, id=f"{host.id}-{case.name}") for host, case in ALL if case.fault is not None]


def test_the_corpus_is_large() -> None:
    assert len({case.data for cases in CASES.values() for case in cases}) >= 100


@pytest.mark.slow
@pytest.mark.parametrize(("host", "case"), GOOD)
def test_the_entry_goes_in_and_out_and_nothing_else_changes(host: Host, case: Case, run: Run, home: Path) -> None:
    file = home / "there" / "config"
    file.parent.mkdir()
    before = case.data.replace(b"TABLE", host.table.encode())
    file.write_bytes(before)

    code, said = run("install", host.id, "--config", file, "--yes")
    assert code == 0, said
    assert KEY not in said
    assert "sk-neighbour" not in said
    after = file.read_bytes()
    _check(host, before, after)

    assert run("install", host.id, "--config", file, "--yes")[0] == 0
    assert file.read_bytes() == after, "a second time changes nothing"
    [backup] = [path for path in file.parent.iterdir() if path != file]
    assert backup.read_bytes() == before

    code, said = run("uninstall", host.id, "--config", file, "--yes")
    assert code == 0, said
    assert file.read_bytes() == before

    for backup in file.parent.glob("*.bak"):
        backup.unlink()
    file.write_bytes(after)
    code, said = run("uninstall", host.id, "--config", file, "--yes")
    assert code == 0, said
    left = parsed(host.form, file.read_bytes()) if file.exists() else {}
    assert repr(without(left, host.table, "")) == repr(without(parsed(host.form, before), host.table, ""))


def _check(host: Host, before: bytes, after: bytes) -> None:
    old, new = parsed(host.form, before), parsed(host.form, after)
    entry = new[host.table]["nano-banana"]
    assert (entry.get("command") or entry["cmd"]).startswith("/")
    assert repr(without(new, host.table, "nano-banana")) == repr(without(old, host.table, "nano-banana"))
    assert after.startswith(BOM) == before.startswith(BOM)
    if b"\r\n" in before and not re.search(rb"(?<!\r)\n", before):
        assert not re.search(rb"(?<!\r)\n", after)
    elif b"\r" not in before:
        assert b"\r" not in after
    # Each line that was there is there, in its order. Only a comma or the entry may have come to it.
    rest = iter(after.removeprefix(BOM).splitlines())
    for line in before.removeprefix(BOM).splitlines():
        words = re.findall(rb"[^\s{},]+", line)
        if words and host.table.encode() not in line:
            assert any(words == re.findall(rb"[^\s{},]+", other)[: len(words)] for other in rest), line


@pytest.mark.parametrize(("host", "case"), BROKEN)
def test_a_file_that_cannot_be_parsed_is_unchanged_and_the_position_is_reported(
    host: Host, case: Case, run: Run, home: Path
) -> None:
    file = home / "there" / "config"
    file.parent.mkdir()
    file.write_bytes(case.data.replace(b"TABLE", host.table.encode()))
    before = listing(home)
    code, said = run("install", host.id, "--config", file, "--yes")
    assert code == 1
    assert str(file) in said
    line = case.fault or "[0-9]+"
    assert re.search(rf"line {line}, column \d+: \S", said), said
    assert listing(home) == before
    assert run("uninstall", host.id, "--config", file, "--yes")[0] in (0, 1)
    assert listing(home) == before


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
def test_uninstall_removes_a_file_that_install_created(host: Host, run: Run, home: Path) -> None:
    path = Path(home / "a" / "b" / "config")
    assert run("install", host.id, "--config", path, "--yes")[0] == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert run("uninstall", host.id, "--config", path, "--yes")[0] == 0
    assert not path.exists()
