"""The log of a real process in both formats, and the secrets that it never holds."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import anyio
import httpx
import pytest
from mcp.client import Client

from nano_banana_sandbox.sandbox import Sandbox
from tests.support.clients import KEY, facts, spawned
from tests.support.handshake import INITIALIZE
from tests.support.http_server import Served, ServedProcess, at, free_port
from tests.support.sandbox import plain_sandbox

WORD = "zebracanary"
TOKEN = "tokencanary-0123456789"
ACCEPT = {"Accept": "application/json, text/event-stream"}
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR) [\w.]+: .*")


class Logged(ServedProcess):
    """A server process, all that it has written to stderr, and after its end to stdout."""

    def __init__(self, process: subprocess.Popen[str], url: str, lines: list[str]) -> None:
        self.lines = lines
        self.stdout = ""
        super().__init__(url, process=process)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def about(self, **fields: Any) -> list[dict[str, Any]]:
        return [record for record in self.records if fields.items() <= record.items()]


@contextmanager
def logged(*arguments: str, **settings: Any) -> Iterator[Logged]:
    """A server whose output is all there when the block has ended."""
    with spawned("serve", "--http", "--port", "0", *arguments, **settings) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        lines: list[str] = []

        def drain(stream: IO[str]) -> None:
            lines.extend(stream)

        reader = threading.Thread(target=drain, args=[process.stderr])
        try:
            while not (match := re.search(r"http://[^\s\"]+/mcp", lines[-1] if lines else "")):
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            reader.start()
            server = Logged(process, match[0], lines)
            yield server
        finally:
            process.terminate()
            if reader.ident is not None:
                server.stdout = process.stdout.read()
                reader.join()


async def misuse(sandbox: Sandbox, server: Served, mode: Any) -> list[str]:
    """Make calls of every kind that contain secrets and prompts. Returns what must not be logged."""
    prompts = [
        "",
        "sandbox:submit=401",
        "sandbox:submit=400",
        "sandbox:submit=500*3",
        "sandbox:submit=reset-after",
        "sandbox:submit=reset-before",
        "sandbox:submit=truncated",
        "sandbox:submit=502",
        "sandbox:query=401*1",
        "sandbox:query=500*1",
        "sandbox:query=reset-after*1",
        "sandbox:result=failed",
        "sandbox:result=text",
        "sandbox:result=data-uri",
        "sandbox:file=404",
        "sandbox:file=html",
        "sandbox:misspelt=1",
    ]
    async with Client(server.url, mode=mode) as client:

        async def provoke(call: Any, *arguments: Any) -> Any:
            try:
                return await call(*arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the client's; the log is what counts
                return error

        async def make(prompt: str) -> None:
            result = await client.call_tool("generate_image", {"prompt": f"{WORD} {prompt}", "wait_seconds": 5})
            for image in (result.structured_content or {}).get("images", []):
                await provoke(client.read_resource, image["url"] or image["resource_uri"])

        async with anyio.create_task_group() as group:
            for prompt in prompts:
                group.start_soon(make, prompt)
        for arguments in ({"prompt": WORD, WORD: 1}, {"prompt": [WORD]}, {"prompt": WORD, "images": [WORD]}):
            await client.call_tool("generate_image", arguments)
        await provoke(client.call_tool, WORD, {"prompt": WORD})
        await provoke(client.read_resource, f"https://{WORD}.example/?{WORD}")
        await client.list_resources()
    secrets = [KEY, WORD, TOKEN]
    async with httpx.AsyncClient() as http:
        bearer = {**ACCEPT, "Authorization": f"Bearer {TOKEN}"}
        await http.post(server.url, json=INITIALIZE, headers=bearer)
        await http.post(server.url, content=f'{{"{WORD}', headers=bearer)
        await http.post(server.url, json={"jsonrpc": "2.0", "id": WORD, "method": WORD}, headers=bearer)
        await http.post(server.url, json=INITIALIZE, headers={**bearer, "X-Request-Id": f"{WORD} {WORD}"})
        await http.get(f"{server.root}/{WORD}?{WORD}", headers=bearer)
        addresses = [task.order.callback_url for task in sandbox.tasks if task.order.callback_url]
        assert addresses
        for address in addresses[:3]:
            generation_id, signature = address.rsplit("/", 2)[1:]
            secrets.append(signature)
            await http.post(address, json={"task_id": WORD})
            await http.post(address, content=WORD * 50_000)
            await http.post(f"{address}{WORD}", json={"task_id": "x"})
            await http.post(f"{server.root}/webhooks/{generation_id}x/{signature}", json={"task_id": "x"})
    # Bytes that are no HTTP at all, and a connection that ends in the middle of a request.
    host, port = server.root.removeprefix("http://").split(":")
    for raw in (f"{WORD}\r\n\r\n", f"POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: 900\r\n\r\n{WORD}"):
        async with await anyio.connect_tcp(host, int(port)) as stream:
            await stream.send(raw.encode())
    return secrets


@pytest.mark.parametrize(("form", "mode"), [("text", "legacy"), ("json", "auto")])
async def test_no_log_holds_a_secret_or_a_prompt_whatever_happens(form: str, mode: Any) -> None:
    port = free_port()
    async with plain_sandbox(seconds=0.1) as sandbox:
        settings = at(
            sandbox.url,
            NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}",
            NANO_BANANA_LOG_LEVEL="DEBUG",
            NANO_BANANA_LOG_FORMAT=form,
            DEFAPI_TIMEOUT_SECONDS=5,
        )
        with logged("--port", str(port), **settings) as server:
            secrets = await misuse(sandbox, server, mode)
    written = "".join(server.lines)
    for secret in secrets:
        assert secret not in written
        assert secret not in server.stdout
    assert "Authorization" not in written
    assert "The outcome of submit" in written  # the log is not just empty
    assert written.count("tools/call: error") >= 5
    if form == "json":
        assert len(server.records) > 30
        assert {"time", "level", "logger", "message"} <= set.intersection(*map(set, server.records))
    else:
        assert all(LINE.fullmatch(line.rstrip("\n")) for line in server.lines[1:])


async def test_a_record_has_its_tool_task_and_request_id_and_a_valid_id_of_the_caller_is_kept() -> None:
    given = ["deploy-7.a_B", "x" * 64, "x" * 65, "two words", "a;b", ""]
    async with plain_sandbox(seconds=0.5) as sandbox:
        with logged(**at(sandbox.url, NANO_BANANA_LOG_LEVEL="INFO", NANO_BANANA_LOG_FORMAT="JSON")) as server:
            async with Client(server.url) as client:
                made = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))
                done = facts(await client.call_tool("wait_for_image", {"task_id": made["task_id"]}))
                await client.read_resource(done["images"][0]["resource_uri"])
                with pytest.raises(Exception, match="Resource not found"):
                    await client.read_resource("nanobanana://tasks/ta-of-another")
            async with httpx.AsyncClient() as http:
                answers = [
                    await http.post(server.url, json=INITIALIZE, headers={**ACCEPT, "X-Request-Id": name})
                    for name in given
                ]
                bare = [await http.get(f"{server.root}/healthz") for _ in range(2)]
                call = {"name": "get_task", "arguments": {"task_id": "ta-of-another"}}
                session = {"Mcp-Session-Id": answers[0].headers["mcp-session-id"], "X-Request-Id": "my-call"}
                body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": call}
                assert (await http.post(server.url, json=body, headers={**ACCEPT, **session})).status_code == 200
    task_id = made["task_id"]
    [submit] = server.about(tool="generate_image", outcome="ok", task_id=task_id)
    [submitted] = server.about(logger="nano_banana_mcp.service.submission", task_id=task_id)
    assert submitted["request_id"] == submit["request_id"]
    [wait] = server.about(tool="wait_for_image", outcome="ok", task_id=task_id)
    [ended] = server.about(logger="nano_banana_mcp.tracking.refresh", task_id=task_id)
    assert ended["request_id"] == wait["request_id"] != submit["request_id"]
    assert 0.3 < wait["seconds"] < 20
    [_] = server.about(method="resources/read", outcome="ok", task_id=task_id)
    [_] = server.about(method="resources/read", outcome="refused", task_id="ta-of-another")
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert ids[:2] == given[:2]
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in ids[2:])
    assert len({*ids, *(answer.headers["x-request-id"] for answer in bare)}) == len(given) + 2
    # In a session the call runs in a task of the session's; it is the call's own id that is logged.
    [record] = server.about(tool="get_task")
    assert record["request_id"] == "my-call"


async def test_by_default_a_server_says_where_it_is_and_nothing_more() -> None:
    with logged("--sandbox", NANO_BANANA_SANDBOX_SECONDS=0) as server:
        async with Client(server.url) as client:
            await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
    assert len(server.lines) == 1
    assert server.stdout == ""
