"""The bytes on stdout, with a raw process: nothing but protocol, whatever goes wrong."""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

import anyio.to_thread
import pytest

from tests.support.clients import KEY
from tests.support.raw_stdio import raw
from tests.support.sandbox import plain_sandbox


def test_when_everything_goes_wrong_stdout_carries_only_protocol_and_no_log_a_key_or_prompt() -> None:
    settings = {"NANO_BANANA_LOG_LEVEL": "DEBUG", "NANO_BANANA_SANDBOX_SECONDS": "0", "DEFAPI_API_KEY": KEY}
    foreign = [
        "nanobanana://tasks/unknown",
        "nanobanana://tasks/unknown/images/0",
        "nanobanana://tasks/../etc",
        "https://example.com/not-ours.png",
        "file:///etc/passwd",
        "http://127.0.0.1:1/inside.png",
        "",
    ]
    prompt = "a very private prompt"
    with raw("--sandbox", **settings) as server:

        def read(number: int, uri: str) -> dict[str, Any]:
            server.send({"jsonrpc": "2.0", "id": number, "method": "resources/read", "params": {"uri": uri}})
            return server.answer(number)

        server.send(b"this is no JSON")
        server.send(b'{"jsonrpc": "2.0", "id": 2, "method": "no/such/method"}')
        server.send(b"\xff\xfe\x00")
        server.send(b"[]")
        server.send(b'{"jsonrpc": "2.0"}')
        server.send(b"{" * 5_000)
        server.call(10, "no_such_tool", {})
        server.call(11, "generate_image", {"prompt": f"{prompt} sandbox:submit=html"})
        server.call(12, "generate_image", {"prompt": f"{prompt} sandbox:submit=503"})
        server.call(13, "generate_image", {"prompt": f"{prompt} sandbox:result=text", "wait_seconds": 240})
        server.call(14, "generate_image", {"prompt": f"{prompt} sandbox:nonsense=1"})
        server.call(15, "generate_image", {"prompt": [prompt]})
        server.call(16, "get_task", {"task_id": "unknown"})
        done = server.call(17, "generate_image", {"prompt": f"{prompt} sandbox:file=html", "wait_seconds": 240})
        assert "error" in read(18, done["result"]["structuredContent"]["images"][0]["url"])
        assert "result" in read(19, "nanobanana://tasks")
        codes = {uri: read(number, uri)["error"]["code"] for number, uri in enumerate(foreign, 20)}
        code, err = server.finish()
    assert code == 0
    for line in server.lines:
        assert json.loads(line)["jsonrpc"] == "2.0"
    assert codes == dict.fromkeys(foreign, -32602), "a resource that is not ours is missing"
    assert b"INFO" in err
    assert KEY.encode() not in err
    assert b"private" not in err


def test_the_end_of_stdin_ends_the_server_cleanly() -> None:
    with raw("--sandbox") as server:
        code, err = server.finish()
    assert code == 0
    assert err == b""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")
async def test_a_signal_in_the_middle_of_a_submit_ends_the_server_after_the_submit_is_recorded() -> None:
    generate = {"name": "generate_image", "arguments": {"prompt": "a cat sandbox:submit=drip"}}
    async with plain_sandbox(drip_interval=0.01) as sandbox:
        settings = {"DEFAPI_BASE_URL": sandbox.url, "DEFAPI_API_KEY": KEY, "NANO_BANANA_LOG_LEVEL": "INFO"}
        with raw(**settings) as server:
            server.send({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": generate})
            with anyio.fail_after(60):
                await sandbox.until(lambda stats: stats.charged == 1)
            server.process.send_signal(signal.SIGTERM)
            code, err = await anyio.to_thread.run_sync(server.finish)
        assert code == 128 + signal.SIGTERM
        assert f"task {sandbox.tasks[0].id} submitted".encode() in err
