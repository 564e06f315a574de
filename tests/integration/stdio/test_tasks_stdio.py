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
from mcp.client import Client

from nano_banana_mcp.tracking.schedule import Schedule
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import child_at
from tests.support.discovery import request
from tests.support.task_clients import ask, call, declared_params, ended, task_client, task_client_at

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


async def test_a_task_survives_a_kill_between_its_answer_and_its_end(tmp_path: Path) -> None:
    async with serve_sandbox(SandboxConfig(seconds=1.0, art="plain")) as sandbox:
        with program(sandbox.url, tmp_path) as process:
            answer = await in_thread(exchange, process, request(1, "tools/call", declared_params(**GENERATE)))
            process.send_signal(signal.SIGKILL)
            await in_thread(process.wait)
        task_id = answer["result"]["taskId"]
        assert answer["result"]["resultType"] == "task"
        async with task_client(child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path)) as client:
            with anyio.fail_after(240):
                task = await ended(client, task_id)
        assert task["result"]["structuredContent"]["images"][0]["resource_uri"].startswith("nanobanana://tasks/")
        assert sandbox.stats.submits == 1


async def test_a_host_that_found_the_extension_in_the_front_gets_tasks_from_the_real_server(tmp_path: Path) -> None:
    async with serve_sandbox(SandboxConfig(seconds=3600, art="plain")) as sandbox:
        with program(sandbox.url, tmp_path) as process:

            def converse() -> list[dict[str, Any]]:
                discovered = exchange(process, request(1, "server/discover", declared_params()))
                listen = declared_params(notifications={"toolsListChanged": True})
                return [
                    discovered,
                    exchange(process, request("listen", "subscriptions/listen", listen)),
                    exchange(process, request(2, "tools/call", declared_params(**GENERATE))),
                ]

            discovered, acknowledged, made = await in_thread(converse)
    assert "io.modelcontextprotocol/tasks" in discovered["result"]["capabilities"]["extensions"]
    assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
    assert (made["id"], made["result"]["resultType"]) == (2, "task")


async def test_the_first_message_of_a_session_may_ask_for_a_task_of_an_earlier_one(tmp_path: Path) -> None:
    async with serve_sandbox(SandboxConfig(seconds=0, art="plain")) as sandbox:
        async with Client(child_at(sandbox.url, NANO_BANANA_STATE_DIR=tmp_path)) as plain:
            made = await plain.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        assert made.structured_content is not None
        task_id = made.structured_content["task_id"]
        with program(sandbox.url, tmp_path) as process:
            answer = await in_thread(exchange, process, request(1, "tasks/get", declared_params(taskId=task_id)))
    assert answer["result"]["status"] == "completed"


async def test_a_listener_is_notified_of_the_end_with_the_result_and_need_not_poll(tmp_path: Path) -> None:
    async with serve_sandbox(SandboxConfig(seconds=1.0, art="plain")) as sandbox:
        with program(sandbox.url, tmp_path) as process:

            def converse() -> list[dict[str, Any]]:
                made = exchange(process, request(1, "tools/call", declared_params(**GENERATE)))["result"]
                wanted = {"taskIds": [made["taskId"], "ta-of-somebody-else"]}
                send(process, request("listen", "subscriptions/listen", declared_params(notifications=wanted)))
                messages = [receive(process)]
                while messages[-1]["params"].get("status") != "completed":
                    messages.append(receive(process))
                return messages

            with anyio.fail_after(240):
                acknowledged, *notifications = await in_thread(converse)
    task_id = sandbox.tasks[0].id
    assert acknowledged["params"]["notifications"] == {"taskIds": [task_id]}
    assert {item["method"] for item in notifications} == {"notifications/tasks"}
    assert {item["params"]["taskId"] for item in notifications} == {task_id}
    subscription = "io.modelcontextprotocol/subscriptionId"
    assert {item["params"]["_meta"][subscription] for item in notifications} == {"listen"}
    assert notifications[0]["params"]["status"] == "working"
    assert notifications[-1]["params"]["result"]["structuredContent"]["status"] == "success"


async def test_a_listener_for_tasks_is_refused_unless_it_declares_them_and_names_them_in_a_list(tmp_path: Path) -> None:
    undeclared = declared_params(notifications={"taskIds": ["x"]})
    undeclared["_meta"]["io.modelcontextprotocol/clientCapabilities"] = {}
    listed_wrongly = declared_params(notifications={"taskIds": "x"})
    with program("http://127.0.0.1:9", tmp_path) as process:
        for params, code in ((undeclared, -32021), (listed_wrongly, -32602)):
            answer = await in_thread(exchange, process, request(1, "subscriptions/listen", params))
            assert answer["error"]["code"] == code


async def test_wrong_settings_are_the_answer_to_tasks_get_too(tmp_path: Path) -> None:
    with program("no address", tmp_path) as process:
        answer = await in_thread(exchange, process, request(1, "tasks/get", declared_params(taskId="ta1")))
    assert "The settings of this server are wrong" in answer["error"]["message"]


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
