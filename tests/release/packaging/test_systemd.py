"""The systemd unit, by systemd's own checks where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from nano_banana_mcp.cli import USAGE_ERROR, build_parser
from nano_banana_mcp.commands import serve
from tests.release.packaging.documented_names import longest_end_seconds
from tests.support.paths import ROOT

UNIT = ROOT / "packaging" / "nano-banana-mcp.service"
TEXT = UNIT.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def systemd_analyze() -> str:
    match = shutil.which("systemd-analyze")
    if match is None:
        pytest.skip("THE SYSTEMD UNIT WAS NOT CHECKED BY SYSTEMD: there is no systemd-analyze")
    return match


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit with the program where it is on this machine: systemd looks whether it is there."""
    program = Path(sys.executable).with_name("nano-banana-mcp")
    assert program.exists()
    unit = tmp_path / UNIT.name
    unit.write_text(TEXT.replace("/opt/nano-banana-mcp/bin/nano-banana-mcp", str(program)), encoding="utf-8")
    return unit


class AsWritten(ConfigParser):
    def optionxform(self, optionstr: str) -> str:
        return optionstr


def service() -> dict[str, str]:
    parser = AsWritten(strict=False, interpolation=None)
    parser.read_string(TEXT)
    return dict(parser["Service"])


def test_systemd_finds_nothing_wrong_with_it(systemd_analyze: str, installed: Path) -> None:
    verified = subprocess.run([systemd_analyze, "verify", installed], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr.strip()) == (0, "")


def test_systemd_rates_its_exposure_as_low(systemd_analyze: str, installed: Path) -> None:
    rated = subprocess.run(
        [systemd_analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", installed],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in rated.stderr:
        pytest.skip("THE EXPOSURE OF THE SYSTEMD UNIT WAS NOT RATED: systemd is older than 250")
    assert rated.returncode == 0, rated.stdout.splitlines()[-1:] or rated.stderr


def test_it_starts_a_server_over_http() -> None:
    program, *arguments = service()["ExecStart"].split()
    assert program == "/opt/nano-banana-mcp/bin/nano-banana-mcp"
    assert build_parser().parse_args(arguments).run is serve.run


def test_its_state_is_where_systemd_makes_a_folder_for_it() -> None:
    assert f"NANO_BANANA_STATE_DIR=%S/{service()['StateDirectory']}" in service()["Environment"].split()
    assert service()["DynamicUser"] == "yes"
    assert service()["ProtectSystem"] == "strict"


def test_no_secret_is_in_it() -> None:
    assert service()["EnvironmentFile"] == "/etc/nano-banana-mcp/env"
    assert not re.search(r"KEY|PASSWORD", service()["Environment"])


def test_it_waits_for_the_servers_own_end_and_does_not_repeat_a_wrong_start() -> None:
    assert int(service()["TimeoutStopSec"]) >= longest_end_seconds()
    assert service()["RestartPreventExitStatus"] == str(USAGE_ERROR)


def test_it_outlives_a_database_that_needs_a_minute_at_boot() -> None:
    """systemd gives up after a number of starts in an interval; 0 switches that off."""
    parser = AsWritten(strict=False, interpolation=None)
    parser.read_string(TEXT)
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    assert "StartLimitBurst" not in parser["Unit"]
    assert service()["Restart"] == "on-failure"
    assert int(service()["RestartSec"]) >= 5


def test_it_may_open_as_many_files_as_calls_and_streams_need() -> None:
    """The server cannot raise the limit itself: the filter of system calls forbids that."""
    assert "~@privileged @resources" in TEXT
    assert int(service()["LimitNOFILE"]) >= 65_536
