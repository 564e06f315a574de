import contextlib
import signal
import socket
import subprocess
import sys

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

from nano_banana_sandbox.server import run_sandbox, serve_sandbox
from tests.support.sandbox_driver import Serve

PROGRAM = """
import anyio
from nano_banana_sandbox.server import run_sandbox
async def main():
    await run_sandbox(announce=lambda url: print(url, flush=True))
anyio.run(main)
print("stopped")
"""


@pytest.mark.parametrize("prompt", ["sandbox:submit=hang", "sandbox:submit=drip"])
async def test_an_open_request_does_not_hold_up_the_shutdown(serve: Serve, prompt: str) -> None:
    async with anyio.create_task_group() as tasks:

        async def hang() -> None:
            with pytest.raises(httpx.TransportError):
                await api.submit(prompt)

        async with serve() as api:
            tasks.start_soon(hang)
            await api.sandbox.until(lambda stats: stats.charged == 1)


async def test_a_taken_port_is_one_clear_error() -> None:
    async with serve_sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
        with pytest.raises(OSError, match=f"the sandbox cannot listen on 127.0.0.1:{port}"):
            await run_sandbox(port=port)


async def test_the_port_is_free_again_afterwards() -> None:
    async with serve_sandbox() as sandbox:
        port = int(sandbox.url.rpartition(":")[2])
    async with serve_sandbox(port=port) as again:
        assert again.url == sandbox.url


@pytest.mark.skipif(sys.platform == "win32", reason="its event loop accepts in another way")
@pytest.mark.parametrize("rounds", range(5))
async def test_a_connection_that_is_being_accepted_at_the_end_is_closed(rounds: int) -> None:
    async with serve_sandbox() as sandbox:
        client = socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2])), timeout=60)
        for _ in range(rounds):
            await anyio.lowlevel.checkpoint()
    with client, contextlib.suppress(ConnectionResetError):
        assert await anyio.to_thread.run_sync(client.recv, 1) == b""


async def test_an_error_of_the_user_comes_through_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with serve_sandbox():
            raise KeyError("mine")


async def test_two_sandboxes_share_nothing(serve: Serve) -> None:
    async with serve() as one, serve() as other:
        await one.task_id()
        assert (one.sandbox.stats.charged, other.sandbox.stats.charged) == (1, 0)


async def test_serving_neither_writes_nor_logs_nor_touches_signals(
    serve: Serve, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    caplog.set_level("DEBUG", "uvicorn")
    async with serve() as api:
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
        await api.image("a hill")
        with pytest.raises(httpx.ReadError):
            await api.submit("sandbox:submit=reset-after")
        with pytest.raises(httpx.RemoteProtocolError):
            await api.submit("sandbox:submit=short")
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


def loaded_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_the_vocabulary_loads_neither_pillow_nor_a_server() -> None:
    assert loaded_by("nano_banana_sandbox.config").isdisjoint({"PIL", "uvicorn", "httpx"})


def test_serving_loads_neither_pillow_nor_mcp() -> None:
    assert loaded_by("nano_banana_sandbox.server").isdisjoint({"PIL", "mcp"})


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_alone_it_serves_until_a_signal_and_ends_cleanly(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/_sandbox/stats", trust_env=False).json()["submits"] == 0
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (0, "stopped\n", "")


async def test_a_client_that_breaks_off_its_submit_is_not_charged(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve() as api:
        url = httpx.URL(api.sandbox.url)
        with socket.create_connection((url.host, url.port or 0)) as raw:
            raw.sendall(
                b"POST /api/image/gen HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: 99\r\n\r\n{"
            )
            await api.sandbox.until(lambda stats: stats.submits == 1)
        assert (await api.submit()).status_code == 200
        assert api.sandbox.stats.charged == 1
    assert caplog.records == [] or all(record.name != "uvicorn.error" for record in caplog.records)
