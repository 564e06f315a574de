"""`serve --http`: real clients of both eras, and the settings that are refused at the start."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from mcp.client import Client
from mcp.types import BlobResourceContents, TextResourceContents

from nano_banana_mcp.app import build_server
from nano_banana_mcp.http.server import listeners
from nano_banana_mcp.ledger import async_ledger
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox.sandbox import Stats
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import facts
from tests.support.command_line import run_here
from tests.support.handshake import INITIALIZE
from tests.support.http_server import at, served, settings_of
from tests.support.sandbox import plain_config, plain_sandbox


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_an_image_arrives_over_http_in_either_era_with_progress(mode: Any) -> None:
    reports: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    async with (
        plain_sandbox(seconds=1.0) as sandbox,
        served(**at(sandbox.url)) as server,
        Client(server.url, mode=mode) as client,
    ):
        made = await client.call_tool("generate_image", {"prompt": "a cat"})
        done = await client.call_tool(
            "wait_for_image", {"task_id": facts(made)["task_id"]}, progress_callback=on_progress
        )
        assert facts(done)["status"] == "success"
        contents = (await client.read_resource(facts(done)["images"][0]["url"])).contents[0]
        assert isinstance(contents, BlobResourceContents)
    assert reports == sorted(set(reports))
    assert reports


def test_health_and_readiness_are_reported() -> None:
    with served("--sandbox") as server:
        assert httpx.get(f"{server.root}/healthz").json()["status"] == "ok"
        assert httpx.get(f"{server.root}/readyz").json() == {"status": "ready"}


async def test_readiness_is_checked_before_the_first_generation_and_comes_back_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_ledger, "PROBE_SECONDS", 0.0)
    state = tmp_path / "state"
    state.write_text("in the way")
    server = build_server(load_settings(sandbox=True, state_dir=state))
    async with Client(server):
        assert str(state) in (await server.not_ready() or "")
        state.unlink()
        assert await server.not_ready() is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "localhost.evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.evil.example"},
    ],
    ids=str,
)
def test_a_foreign_host_or_origin_is_refused(headers: dict[str, str]) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    accept = {"Accept": "application/json, text/event-stream"}
    with served("--sandbox") as server:
        assert httpx.post(server.url, json=body, headers={**accept, **headers}).status_code in (403, 421)


def test_a_host_named_in_the_settings_is_answered() -> None:
    headers = {"Accept": "application/json, text/event-stream", "Host": "pictures.example.org"}
    with served("--sandbox", NANO_BANANA_ALLOWED_HOSTS="pictures.example.org, other.example.org") as server:
        assert httpx.post(server.url, json=INITIALIZE, headers=headers).status_code == 200


def test_an_answer_does_not_wait_for_the_network_to_gather_more() -> None:
    with listeners(settings_of()) as [listener]:
        assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def charged(wanted: int) -> Callable[[Stats], bool]:
    return lambda stats: stats.charged >= wanted


async def test_a_connection_that_drops_in_the_middle_of_a_submit_does_not_lose_the_task() -> None:
    rounds = 10
    config = plain_config(drip_interval=0.002)
    async with serve_sandbox(config) as sandbox:
        async with served(**at(sandbox.url)) as server:
            for number in range(1, rounds + 1):
                async with Client(server.url) as client, anyio.create_task_group() as group:
                    arguments = {"prompt": f"cat {number} sandbox:submit=drip"}
                    group.start_soon(client.call_tool, "generate_image", arguments)
                    with anyio.fail_after(60):
                        await sandbox.until(charged(number))
                    group.cancel_scope.cancel()
            async with Client(server.url) as client:
                with anyio.fail_after(60):
                    while True:
                        contents = (await client.read_resource("nanobanana://tasks")).contents[0]
                        assert isinstance(contents, TextResourceContents)
                        if all(task.id in contents.text for task in sandbox.tasks):
                            break
        assert sandbox.stats.submits == rounds


def test_a_bind_that_others_can_reach_is_refused_with_the_reason() -> None:
    """With the exit code of a wrong setting, after which the systemd unit does not start it again."""
    ended = run_here("serve", "--http", "--host", "0.0.0.0", "--sandbox")
    assert ended.returncode == 2
    assert "0.0.0.0" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "setting", [{"NANO_BANANA_TOKENS_FILE": "/nonexistent/tokens.json"}, {"NANO_BANANA_OAUTH_SCOPES": "pictures"}]
)
def test_a_wrong_setting_that_only_http_has_ends_with_the_same_code(setting: dict[str, Any]) -> None:
    ended = run_here("serve", "--http", "--port", "0", "--sandbox", **setting)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert line.startswith("nano-banana-mcp: ")


def test_a_taken_port_is_reported() -> None:
    with served("--sandbox") as server:
        port = server.root.rpartition(":")[2]
        ended = run_here("serve", "--http", "--port", port, "--sandbox")
    assert ended.returncode == 1
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("value", ["http", "-1", "65536"])
def test_an_impossible_port_is_one_line(value: str) -> None:
    ended = run_here("serve", "--http", NANO_BANANA_PORT=value)
    assert ended.returncode == 2
    assert ended.stderr.startswith("nano-banana-mcp: NANO_BANANA_PORT")
    assert len(ended.stderr.splitlines()) == 1


def test_an_unusable_ledger_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file in the place of the folder")
    state = str(tmp_path / "state")
    ended = run_here("serve", "--http", "--port", "0", "--sandbox", NANO_BANANA_STATE_DIR=state)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("nano-banana-mcp: ")
    assert str(tmp_path / "state") in line
