"""MCP tasks over stdio: through the front, and after the server was killed."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync as in_thread

from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import child_at
from tests.support.discovery import request
from tests.support.task_clients import ask, call, declared_params, task_client_at

GENERATE: dict[str, Any] = {"name": "generate_image", "arguments": {"prompt": "a cat"}}


@contextmanager
def program(url: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    parameters = child_at(url, NANO_BANANA_STATE_DIR=folder, NANO_BANANA_LOG_LEVEL="ERROR")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([parameters.command, *parameters.args], env=parameters.env, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def send(process: subprocess.Popen[bytes], line: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(line)
    process.stdin.flush()


def receive(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None
    message: dict[str, Any] = json.loads(process.stdout.readline())
    return message


def exchange(process: subprocess.Popen[bytes], line: bytes) -> dict[str, Any]:
    send(process, line)
    return receive(process)


async def test_a_task_survives_a_kill_and_is_the_first_that_the_next_process_is_asked_for(tmp_path: Path) -> None:
    async with serve_sandbox(SandboxConfig(seconds=3_600, art="plain")) as sandbox:
        with program(sandbox.url, tmp_path) as process:
            answer = await in_thread(exchange, process, request(1, "tools/call", declared_params(**GENERATE)))
            process.send_signal(signal.SIGKILL)
            await in_thread(process.wait)
        sandbox.tasks[0].born -= 3_600
        task_id = answer["result"]["taskId"]
        assert answer["result"]["resultType"] == "task"
        with program(sandbox.url, tmp_path) as process, anyio.fail_after(240):
            task: dict[str, Any] = {"status": "working"}
            while task["status"] == "working":
                answer = await in_thread(exchange, process, request(1, "tasks/get", declared_params(taskId=task_id)))
                task = answer["result"]
    assert task["result"]["structuredContent"]["images"][0]["resource_uri"].startswith("nanobanana://tasks/")
    assert sandbox.stats.submits == 1


async def test_a_host_that_found_the_extension_in_the_front_is_notified_of_the_end_and_need_not_poll(
    tmp_path: Path,
) -> None:
    undeclared = declared_params(notifications={"taskIds": ["x"]})
    undeclared["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {}
    listed_wrongly = declared_params(notifications={"taskIds": "x"})
    async with serve_sandbox(SandboxConfig(seconds=1.0, art="plain")) as sandbox:
        with program(sandbox.url, tmp_path) as process:

            def converse() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
                changes = declared_params(notifications={"toolsListChanged": True})
                answers = [
                    exchange(process, request(1, "server/discover", declared_params())),
                    exchange(process, request("changes", "subscriptions/listen", changes)),
                    exchange(process, request(2, "subscriptions/listen", undeclared)),
                    exchange(process, request(3, "subscriptions/listen", listed_wrongly)),
                    exchange(process, request(4, "tools/call", declared_params(**GENERATE))),
                ]
                wanted = {"taskIds": [answers[-1]["result"]["taskId"], "ta-of-another-caller"]}
                send(process, request("listen", "subscriptions/listen", declared_params(notifications=wanted)))
                messages = [receive(process)]
                while messages[-1]["params"].get("status") != "completed":
                    messages.append(receive(process))
                return answers, messages

            with anyio.fail_after(240):
                answers, (acknowledged, *notifications) = await in_thread(converse)
    discovered, subscribed, *refused, made = answers
    assert "io.modelcontextprotocol/tasks" in discovered["result"]["capabilities"]["extensions"]
    assert subscribed["method"] == "notifications/subscriptions/acknowledged"
    assert [answer["error"]["code"] for answer in refused] == [-32021, -32602]
    assert (made["id"], made["result"]["resultType"]) == (4, "task")
    task_id = sandbox.tasks[0].id
    assert acknowledged["params"]["notifications"] == {"taskIds": [task_id]}
    assert {item["method"] for item in notifications} == {"notifications/tasks"}
    assert {item["params"]["taskId"] for item in notifications} == {task_id}
    subscription = "io.modelcontextprotocol/subscriptionId"
    assert {item["params"]["_meta"][subscription] for item in notifications} == {"listen"}
    assert notifications[0]["params"]["status"] == "working"
    assert notifications[-1]["params"]["result"]["structuredContent"]["status"] == "success"


async def test_the_end_of_a_task_is_noticed_by_the_next_poll_after_the_interval(tmp_path: Path) -> None:
    async with (
        serve_sandbox(SandboxConfig(seconds=3600, art="plain")) as sandbox,
        task_client_at(sandbox.url, schedule=Schedule(), state_dir=tmp_path) as client,
    ):
        task = await call(client, "generate_image", prompt="a cat")
        assert task["status"] == "working"
        sandbox.tasks[0].born -= 3_600
        await anyio.sleep(task["pollIntervalMs"] / 1_000)
        assert (await ask(client, "tasks/get", task["taskId"]))["status"] == "completed"
