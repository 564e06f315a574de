"""The manifest: current, and of the versions that are installed."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from nano_banana_mcp import __version__
from nano_banana_mcp.stdio import manifest
from nano_banana_mcp.stdio.manifest_builder import build_answers, write

VERSIONS = ("1.2.3", "2.3.4")
ANSWERS: manifest.Answers = {
    "2025-06-18": {"ping": {}, "tools/list": {"tools": ["é"]}},
    "2025-11-25": {"ping": {}, "tools/list": {"tools": []}},
}


async def test_the_shipped_manifest_is_what_the_real_server_answers() -> None:
    shipped = manifest.read(manifest.SHIPPED_PATH, manifest.installed_versions())
    assert shipped == await build_answers(), "Run make snapshots, and commit the difference."


def test_the_installed_versions_are_those_that_the_packages_name() -> None:
    assert manifest.installed_versions() == (__version__, importlib.metadata.version("mcp"))


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = manifest.state_path(str(tmp_path / "new"), VERSIONS)
    write(Path(path), ANSWERS, VERSIONS)
    assert manifest.read(path, VERSIONS) == ANSWERS
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["manifest-1.2.3-mcp-2.3.4.json"]


@pytest.mark.parametrize("versions", [("1.2.3", "2.3.5"), ("1.2.4", "2.3.4")])
def test_a_manifest_of_other_versions_is_not_used(versions: tuple[str, str], tmp_path: Path) -> None:
    path = str(tmp_path / "manifest.json")
    write(Path(path), ANSWERS, VERSIONS)
    assert manifest.read(path, versions) is None


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"nano-banana-mcp":"1.2.3","mcp":"2.3.4","results":[]}'])
def test_a_spoiled_manifest_is_not_used(content: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    assert manifest.read(str(path), VERSIONS) is None


def test_the_state_folder_is_left_to_the_real_server_where_its_value_needs_interpretation() -> None:
    assert manifest.state_folder({"NANO_BANANA_STATE_DIR": "~/state"}) is None
    assert manifest.state_folder({"NANO_BANANA_STATE_DIR": "${user_config.folder}"}) is None
    assert manifest.state_folder({"NANO_BANANA_STATE_DIR": os.getcwd()}) == os.getcwd()
