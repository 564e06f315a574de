"""The installed entry, read by an independent parser and started exactly as it says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters

from nano_banana_mcp.install.hosts import HOSTS
from tests.support.command_line import run_here as run
from tests.support.install_files import parsed


@pytest.mark.parametrize("host", ["claude-desktop", "codex", "goose"])
async def test_the_installed_entry_starts_the_server_with_a_bare_environment(host: str, tmp_path: Path) -> None:
    file = tmp_path / "config"
    ended = run("install", host, "--config", str(file), "--sandbox", "--yes", settings={"HOME": str(tmp_path)})
    assert ended.returncode == 0, ended.stderr
    entry = parsed(HOSTS[host].form, file.read_bytes())[HOSTS[host].table]["nano-banana"]
    environment = {**entry.get("env", {}), "PATH": os.defpath, "HOME": str(tmp_path)}
    start = StdioServerParameters(
        command=entry.get("command") or entry["cmd"], args=entry["args"], env=environment, cwd=tmp_path
    )
    async with Client(start) as client:
        assert "generate_image" in [tool.name for tool in (await client.list_tools()).tools]
