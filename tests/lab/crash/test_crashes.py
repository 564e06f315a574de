"""kill -9 and disconnects at every point of a submit, against the sandbox. `make crash` runs a hundred rounds each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from anyio.to_thread import run_sync as in_thread

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from tests.lab.crash.rounds import BATCH_POINTS, POINTS
from tests.support.clients import clean_environment
from tests.support.sandbox import plain_config

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "1"))
PAID_AFTER = list(POINTS).index("after the whole request")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the rounds need fork")


async def reports(
    module: str, state: Path, config: SandboxConfig, *options: str, rounds: int = ROUNDS
) -> list[dict[str, Any]]:
    """Run a module of this folder against a sandbox and read its lines."""
    async with serve_sandbox(config) as sandbox:
        command = [sys.executable, "-m", module, sandbox.url, str(state), str(rounds), *options]
        ended = await in_thread(
            lambda: subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
        )
    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    for line in lines:
        sys.stdout.write(f"{line}\n")
    return lines


async def test_no_kill_at_any_point_loses_what_was_charged_or_pays_twice(tmp_path: Path) -> None:
    lines = await reports("tests.lab.crash.rounds", tmp_path / "state", plain_config(credit="1000000"))
    assert [line["point"] for line in lines] == list(POINTS)
    for number, line in enumerate(lines):
        assert line["lost"] == 0, line
        assert line["posted twice"] == 0, line
        assert line["known"] + line["unknown"] == line["charged"], line
        assert line["charged"] == (ROUNDS if number >= PAID_AFTER else 0), line
    assert lines[-1]["known"] == lines[-2]["known"] == ROUNDS


async def test_no_kill_in_the_middle_of_a_batch_loses_what_was_charged_or_sends_more_than_was_asked(
    tmp_path: Path,
) -> None:
    config = plain_config(credit="1000000")
    lines = await reports("tests.lab.crash.rounds", tmp_path / "state", config, "--count", "4")
    assert [line["point"] for line in lines] == [point for point in BATCH_POINTS for _ in ("killed", "repeated")]
    for killed, repeated in zip(lines[::2], lines[1::2], strict=True):
        for line in (killed, repeated):
            assert line["lost"] == line["posted too often"] == 0, line
        assert killed["recorded"] == (0 if killed["point"] == "before the batch is recorded" else 4 * ROUNDS), killed
        assert repeated["recorded"] == 4 * ROUNDS, repeated
        assert repeated["known"] + repeated["unknown"] == 4 * ROUNDS, repeated  # so nothing is unsent any more
        assert repeated["unsent"] == 0, repeated
    by_point = {line["point"]: line for line in lines[::2]}
    assert by_point["after the batch is recorded"]["unsent"] == 4 * ROUNDS
    assert by_point["before a claim"]["unsent"] == 3 * ROUNDS
    assert by_point["after the id is stored"]["known"] >= ROUNDS


async def test_no_disconnect_in_the_middle_of_a_call_loses_an_id(tmp_path: Path) -> None:
    config = plain_config(drip_interval=0.0005, credit="1000000")
    rounds = max(ROUNDS, 2)  # the first leaves once it has paid, the others at a moment of chance
    lines = await reports("tests.lab.crash.disconnects", tmp_path / "state", config, rounds=rounds)
    assert len(lines) == 3
    for line in lines:
        assert line["known"] == line["charged"], line
        assert line["lost"] == line["unknown"] == line["posted twice"] == 0, line
    assert all(line["charged"] > 0 for line in lines)
