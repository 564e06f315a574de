"""The bytes on stdout, with a raw process: nothing but protocol, whatever goes wrong."""

from __future__ import annotations

import json
import signal
import sys

import anyio.to_thread
import pytest

from tests.support.clients import KEY
from tests.support.raw_stdio import raw
from tests.support.sandbox import plain_sandbox


def test_stdout_carries_nothing_but_protocol_when_everything_goes_wrong() -> None:
    with raw("--sandbox", NANO_BANANA_LOG_LEVEL="DEBUG", NANO_BANANA_SANDBOX_SECONDS="0") as server:
        server.send(b"this is no JSON")
        server.send(b'{"jsonrpc": "2.0", "id": 2, "method": "no/such/method"}')
        server.send(b"\xff\xfe\x00")
        server.send(b"[]")
        server.send(b'{"jsonrpc": "2.0"}')
        server.send(b"{" * 5_000)
        server.call(10, "no_such_tool", {})
        server.call(11, "generate_image", {"prompt": "x sandbox:submit=html"})
        server.call(12, "generate_image", {"prompt": "x sandbox:submit=503"})
        server.call(13, "generate_image", {"prompt": "x sandbox:result=text", "wait_seconds": 240})
        server.call(14, "get_task", {"task_id": "unknown"})
        done = server.call(15, "generate_image", {"prompt": "x sandbox:file=html", "wait_seconds": 240})
        uri = done["result"]["structuredContent"]["images"][0]["url"]
        server.send({"jsonrpc": "2.0", "id": 16, "method": "resources/read", "params": {"uri": uri}})
        assert "error" in server.answer(16)
        code, _ = server.finish()
    assert code == 0
    for line in server.lines:
        assert json.loads(line)["jsonrpc"] == "2.0"


def test_key_and_prompts_are_in_no_log_at_any_level() -> None:
    prompt = "a very private prompt"
    with raw("--sandbox", NANO_BANANA_LOG_LEVEL="DEBUG", NANO_BANANA_SANDBOX_SECONDS="0", DEFAPI_API_KEY=KEY) as server:
        server.call(10, "generate_image", {"prompt": prompt, "wait_seconds": 240})
        server.call(11, "generate_image", {"prompt": f"{prompt} sandbox:submit=503"})
        server.call(12, "generate_image", {"prompt": f"{prompt} sandbox:nonsense=1"})
        server.call(13, "generate_image", {"prompt": [prompt]})
        server.send({"jsonrpc": "2.0", "id": 14, "method": "resources/read", "params": {"uri": "nanobanana://tasks"}})
        server.answer(14)
        _, err = server.finish()
    assert KEY.encode() not in err
    assert b"private" not in err


def test_the_end_of_stdin_ends_the_server_cleanly() -> None:
    with raw("--sandbox") as server:
        code, err = server.finish()
    assert code == 0
    assert err == b""


def test_a_resource_that_is_not_ours_is_missing() -> None:
    uris = [
        "nanobanana://tasks/unknown",
        "nanobanana://tasks/unknown/images/0",
        "nanobanana://tasks/../etc",
        "https://example.com/not-ours.png",
        "file:///etc/passwd",
        "http://127.0.0.1:1/inside.png",
        "",
    ]
    with raw("--sandbox") as server:
        codes = {}
        for number, uri in enumerate(uris, 2):
            server.send({"jsonrpc": "2.0", "id": number, "method": "resources/read", "params": {"uri": uri}})
            codes[uri] = server.answer(number)["error"]["code"]
    assert codes == dict.fromkeys(uris, -32602)


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
