"""``resources/list`` with images in the ledger: the front lists what the real server lists."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import pytest

from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from nano_banana_mcp.stdio import manifest
from nano_banana_mcp.stdio.front import Front
from nano_banana_mcp.stdio.session import list_images
from tests.support.discovery import INITIALIZED, envelope, initialize, play, request

DEFAPI = "https://api.defapi.org"


def generation(number: int, api: str | None = DEFAPI, prompt: str | None = "a cat", **more: object) -> Generation:
    """A finished one with two images, one of which has no URL."""
    return Generation(
        f"in-{number}",
        task_id=f"ta-{number}",
        status=Status.SUCCESS,
        images=(GeneratedImage(f"https://example.com/{number}.png", "image/png"), GeneratedImage(None, "image/webp")),
        prompt=prompt,
        api=api,
        created_at=1_700_000_000.0 + number,
        submitted_at=1_700_000_000.0 + number,
        finished_at=1_700_000_100.0 + number,
        **more,  # type: ignore[arg-type]  # any field
    )


def fill(folder: Path, *generations: Generation) -> None:
    ledger = SqliteLedger(folder)
    for item in generations:
        ledger.save(item)
    ledger.close()


@pytest.mark.parametrize(
    "generations",
    [
        pytest.param([], id="none"),
        pytest.param([generation(1, prompt="  a\n  cat  " + "x" * 90), generation(2, prompt=None)], id="titles"),
        pytest.param([generation(number) for number in range(15)], id="more than are listed"),
        pytest.param([generation(1, api="sandbox"), generation(2)], id="of a sandbox that has ended"),
        pytest.param([generation(1, principal="alice"), generation(2)], id="of another caller"),
        pytest.param([Generation("in-1", created_at=1.0), generation(2)], id="one without a task"),
    ],
)
def test_the_front_lists_the_images_that_the_real_server_lists(generations: list[Generation], tmp_path: Path) -> None:
    fill(tmp_path, *generations)
    environment = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    answers = manifest.load(environment)
    assert answers is not None
    images = list_images(environment)
    assert images is not None
    for lines in (
        initialize() + INITIALIZED + request(1, "resources/list"),
        request(1, "resources/list", envelope()),
    ):
        messages, _ = play(lines, lines.count(b'"id"'), tmp_path, {})
        front = Front(answers, lambda: images)
        received = [front.answer(line) for line in lines.splitlines(keepends=True)]
        assert received[-1] is not None
        assert messages[-1] == json.loads(received[-1])


def test_without_a_ledger_there_are_no_images_and_none_is_made(tmp_path: Path) -> None:
    assert list_images({"NANO_BANANA_STATE_DIR": str(tmp_path)}) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("version", [0, 1, 99])
def test_a_ledger_of_an_unknown_version_is_left_to_the_real_server(version: int, tmp_path: Path) -> None:
    fill(tmp_path, generation(1))
    connection = sqlite3.connect(tmp_path / "ledger.sqlite3")
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    assert list_images({"NANO_BANANA_STATE_DIR": str(tmp_path)}) is None


def test_a_spoiled_ledger_and_postgresql_are_left_to_the_real_server(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"not a database at all" * 100)
    state = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    assert list_images(state) is None
    assert list_images({**state, "NANO_BANANA_LEDGER_URL": "postgresql://u@h/d"}) is None


def test_a_row_that_cannot_be_read_leaves_the_list_to_the_real_server(tmp_path: Path) -> None:
    fill(tmp_path, generation(1))
    connection = sqlite3.connect(tmp_path / "ledger.sqlite3", isolation_level=None)
    connection.execute("UPDATE generations SET images = 'spoiled'")
    connection.close()
    assert list_images({"NANO_BANANA_STATE_DIR": str(tmp_path)}) is None
