"""The application under plain ``uvicorn --factory``, without what ``serve --http`` sets up."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import httpx
import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client
from starlette.responses import PlainTextResponse

from nano_banana_mcp.http.app import create_app
from nano_banana_mcp.http.external_asgi import LoopbackOnly
from nano_banana_mcp.settings import load_settings
from tests.support.clients import child, facts
from tests.support.handshake import INITIALIZE
from tests.support.http_server import free_port
from tests.support.serving import serving
from tests.support.team import ACCEPT

FACTORY = ("-m", "uvicorn", "--factory", "nano_banana_mcp.http.app:create_app")


class UvicornProcess:
    """A process of uvicorn's, and all that it has written; that is complete once the process has ended."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output: list[str] = []
        self.root = ""
        self._up = threading.Event()
        self._readers = [
            threading.Thread(target=self._read, args=[stream]) for stream in (process.stdout, process.stderr)
        ]
        for reader in self._readers:
            reader.start()
        assert self._up.wait(60), self.output

    def end(self) -> int:
        """Send SIGTERM and wait for the end. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.join()
        return code

    def join(self) -> None:
        """Wait until all of its output is read."""
        for reader in self._readers:
            reader.join()

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self.output.append(line)
            if match := re.search(r"running on (http://\S+)", line):
                self.root = match[1]
                self._up.set()


@contextmanager
def running_uvicorn(*arguments: str, port: int = 0, **settings: Any) -> Iterator[UvicornProcess]:
    environment = child(**settings).env
    with subprocess.Popen(
        [sys.executable, *FACTORY, "--port", str(port), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            server = UvicornProcess(process)
            yield server
            process.kill()
            server.join()  # before the streams that they read are closed
        finally:
            process.kill()


async def test_the_logs_of_uvicorn_and_the_sandbox_hide_the_addresses_of_callbacks() -> None:
    port = free_port()
    settings: dict[str, Any] = {
        "NANO_BANANA_SANDBOX": "true",
        "NANO_BANANA_SANDBOX_SECONDS": "0",
        "NANO_BANANA_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "NANO_BANANA_LOG_LEVEL": "DEBUG",
    }
    with running_uvicorn(port=port, **settings) as server:
        async with Client(f"{server.root}/mcp") as client:
            made = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
            assert facts(made)["finished"] is True
        async with httpx.AsyncClient(trust_env=False) as http:
            await http.post(f"{server.root}/webhooks/in-canary/secretcanary?x=querycanary")
        await in_thread(server.end)
    output = "".join(server.output)
    assert "POST /webhooks/*** HTTP/1.1" in output, "uvicorn's access log still works"
    assert "/webhooks/in-" not in output
    assert "canary" not in output


async def test_logging_is_set_up_by_the_settings() -> None:
    settings: dict[str, Any] = {
        "NANO_BANANA_SANDBOX": "true",
        "NANO_BANANA_LOG_LEVEL": "INFO",
        "NANO_BANANA_LOG_FORMAT": "json",
    }
    with running_uvicorn("--no-access-log", **settings) as server:
        async with Client(f"{server.root}/mcp") as client:
            task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        await in_thread(server.end)
    records = [json.loads(line) for line in server.output if line.startswith("{")]
    assert [record["tool"] for record in records if record.get("task_id") == task_id and "tool" in record]


def own_address() -> str:
    """This machine's address in its network; loopback, if it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
        try:
            unsent.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(unsent.getsockname()[0])


@pytest.mark.skipif(own_address().startswith("127."), reason="this machine has no address but its own")
@pytest.mark.parametrize("allowed", [False, True])
async def test_on_an_open_bind_other_machines_are_answered_only_if_allowed(allowed: bool) -> None:
    app = create_app(load_settings(sandbox=True, allow_unauthenticated=allowed))
    with socket.create_server(("0.0.0.0", 0)) as listener:
        here, outside = (f"http://{host}:{listener.getsockname()[1]}" for host in ("127.0.0.1", own_address()))
        async with serving(app, listener, lifespan="on"), httpx.AsyncClient(trust_env=False, timeout=60) as http:
            headers = {**ACCEPT, "Host": "localhost"}
            answers = [await http.post(f"{root}/mcp", json=INITIALIZE, headers=headers) for root in (here, outside)]
            assert [answer.status_code for answer in answers] == [200, 200 if allowed else 403]
            assert (await http.get(f"{outside}/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [
        (("127.0.0.1", 1), {}, 200),
        (("127.8.9.10", 1), {}, 200),
        (("::1", 1), {}, 200),
        (("::ffff:127.0.0.1", 1), {}, 200),
        (("10.0.0.7", 1), {}, 403),
        (("::ffff:10.0.0.7", 1), {}, 403),
        (("2001:db8::1", 1), {}, 403),
        (("localhost.evil.example", 1), {}, 403),
        (("", 0), {}, 403),
        (("127.0.0.1", 1), {"X-Forwarded-For": "127.0.0.1"}, 403),
        (("127.0.0.1", 1), {"Forwarded": "for=127.0.0.1"}, 403),
    ],
    ids=str,
)
async def test_only_a_peer_on_the_loopback_interface_is_of_this_machine(
    client: tuple[str, int], headers: dict[str, str], status: int
) -> None:
    transport = httpx.ASGITransport(LoopbackOnly(PlainTextResponse("served")), client=client)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        assert (await http.get("/mcp", headers=headers)).status_code == status
