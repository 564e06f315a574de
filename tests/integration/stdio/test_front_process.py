"""The program as hosts start it: in the front until the first call, and how it ends in each state."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nano_banana_mcp import __version__
from tests.support.clients import clean_environment
from tests.support.discovery import INITIALIZED, LISTS, envelope, initialize, request
from tests.support.task_clients import declared_params

OPENED = initialize(request_id="opening") + INITIALIZED
CALL = {"name": "no_such_tool", "arguments": {}}
posix_signals = pytest.mark.skipif(sys.platform == "win32", reason="no such signals there")

# Reports on stderr, at the end, which modules were imported.
REPORTING = (
    "import sys\n"
    "from nano_banana_mcp.__main__ import main\n"
    "code = main()\n"
    "print(*sorted(sys.modules), file=sys.stderr)\n"
    "sys.exit(code)\n"
)


@contextmanager
def program(*python: str, fake: Any = None, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program with pipes; modules in the folder ``fake`` come before all others."""
    environment = {**clean_environment(), **settings} | ({"PYTHONPATH": str(fake)} if fake else {})
    command = [sys.executable, *(python or ("-m", "nano_banana_mcp"))]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def send(process: subprocess.Popen[bytes], lines: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(lines)
    process.stdin.flush()


def receive(process: subprocess.Popen[bytes], count: int) -> list[Any]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def finish(process: subprocess.Popen[bytes]) -> tuple[int, list[Any], str]:
    """Close its input. Returns the exit code, the messages that were left, and stderr."""
    output, errors = process.communicate(timeout=60)
    return process.returncode, [json.loads(line) for line in output.splitlines()], errors.decode()


def fake_sdk(folder: Path, source: str) -> Path:
    """A folder with a module that is imported in place of the SDK."""
    folder.mkdir()
    (folder / "mcp.py").write_text(source)
    return folder


def test_discovery_imports_nothing_but_the_front_and_ends_with_its_input() -> None:
    with program("-c", REPORTING) as process:
        send(process, OPENED + b"".join(request(name, name) for name in LISTS))
        assert [message["id"] for message in receive(process, 5)] == ["opening", *LISTS]
        code, rest, errors = finish(process)
    assert (code, rest) == (0, [])
    loaded = errors.split()
    ours = {name for name in loaded if name.startswith("nano_banana")}
    assert ours == {"nano_banana_mcp", "nano_banana_mcp.__main__"} | {
        f"nano_banana_mcp.stdio{name}" for name in ("", ".front", ".manifest", ".messages", ".session")
    }
    for heavy in ("mcp", "pydantic", "anyio", "asyncio", "argparse", "logging", "sqlite3", "importlib.metadata"):
        assert heavy not in loaded


def test_where_a_person_confirms_calls_the_front_leaves_only_the_list_of_tools_to_the_real_server() -> None:
    others = [name for name in LISTS if name != "tools/list"]
    with program("-c", REPORTING, NANO_BANANA_CONFIRM="always") as process:
        send(process, OPENED + b"".join(request(name, name) for name in others))
        assert [message["id"] for message in receive(process, 4)] == ["opening", *others]
        code, rest, errors = finish(process)
    assert (code, rest) == (0, [])
    assert "mcp" not in errors.split()


def test_requests_around_the_handover_are_each_answered_once_and_nothing_optional_is_imported_for_them() -> None:
    """Two hundred that are sent before the import ends, and one that arrives in pieces before and after it."""
    names = ["ping", *LISTS]
    calls = b"".join(request(number, names[number % 5]) for number in range(1, 200))
    late = request(200, "tools/list")
    with program("-c", REPORTING) as process:
        send(process, OPENED[:30])
        send(process, OPENED[30:] + request(0, "tools/call", CALL) + calls + late[:20])
        messages = receive(process, 201)
        send(process, late[20:])
        messages += receive(process, 1)
        code, rest, errors = finish(process)
    assert (code, rest) == (0, [])
    assert messages[0]["id"] == "opening"
    assert sorted(message["id"] for message in messages[1:]) == list(range(201))
    assert all("result" in message for message in messages)
    optional = {"PIL", "psycopg", "prometheus_client", "nano_banana_mcp.commands", "nano_banana_sandbox"}
    assert optional & set(errors.split()) == set()


@posix_signals
def test_a_signal_in_the_front_ends_the_program_at_once() -> None:
    with program() as process:
        send(process, OPENED)
        receive(process, 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT


@posix_signals
def test_a_signal_during_the_import_ends_the_program_at_once(tmp_path: Path) -> None:
    fake = fake_sdk(
        tmp_path / "fake", "import sys, time\nprint('importing', file=sys.stderr, flush=True)\ntime.sleep(600)\n"
    )
    with program(fake=fake) as process:
        send(process, OPENED + request(1, "tools/call", CALL))
        assert process.stderr is not None
        assert process.stderr.readline() == b"importing\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM


@posix_signals
def test_ctrl_c_after_the_handover_ends_the_program() -> None:
    with program() as process:
        send(process, OPENED + request(1, "tools/call", CALL))
        receive(process, 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT


@pytest.mark.parametrize("call", [request(1, "tools/call", CALL), request(1, "tools/call", CALL | {"x": "\ud83c"})])
def test_a_failed_import_is_the_answer_to_the_held_request_and_a_failed_exit(call: bytes, tmp_path: Path) -> None:
    fake = fake_sdk(tmp_path / "fake", "raise ImportError('half installed')\n")
    with program(fake=fake) as process:
        send(process, OPENED + call)
        opening, refused = receive(process, 2)
        code, rest, errors = finish(process)
    assert (code, rest) == (1, [])
    assert opening["id"] == "opening"
    assert refused["id"] == 1
    assert "half installed" in refused["error"]["message"]
    assert "nothing was charged" in refused["error"]["message"]
    assert "ImportError: half installed" in errors


def test_a_client_that_leaves_without_reading_is_no_error() -> None:
    with program() as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        send(process, OPENED)
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


def test_with_a_wrong_setting_the_tools_are_listed_and_each_call_names_the_variable() -> None:
    fragment = "NANO_BANANA_STATE_DIR: must be an absolute path"
    with program(NANO_BANANA_STATE_DIR="state", NANO_BANANA_CREDITS_PER_DAYS="5") as process:
        send(process, OPENED + request(1, "tools/list"))
        _, listed = receive(process, 2)
        send(process, request(2, "tools/call", {"name": "get_task", "arguments": {"task_id": "ta-1"}}))
        [refused] = receive(process, 1)
        send(process, request(3, "resources/read", {"uri": "nanobanana://tasks"}))
        [unread] = receive(process, 1)
        code, _, errors = finish(process)
    assert listed["result"]["tools"]
    assert refused["result"]["isError"] is True
    assert fragment in refused["result"]["content"][0]["text"]
    assert fragment in unread["error"]["message"]
    assert fragment in errors
    assert "NANO_BANANA_CREDITS_PER_DAYS is not a setting and has no effect" in errors
    assert code == 0


def test_a_wrong_setting_is_named_to_modern_clients_too_where_the_front_was_not_asked(tmp_path: Path) -> None:
    arguments = ("-m", "nano_banana_mcp", "--env-file", str(tmp_path / "none"))
    with program(*arguments) as process:
        send(process, request(1, "tools/call", {**envelope(), **CALL}))
        [refused] = receive(process, 1)
        send(process, request(2, "tasks/get", declared_params(taskId="ta1")))
        [unknown] = receive(process, 1)
        code, _, errors = finish(process)
    assert f"there is no file {tmp_path / 'none'}" in refused["result"]["content"][0]["text"]
    assert "The settings of this server are wrong" in unknown["error"]["message"]
    assert "--env-file" in errors
    assert code == 0


def test_with_another_version_of_the_sdk_the_first_start_writes_a_manifest_and_the_next_is_instant(
    tmp_path: Path,
) -> None:
    fake = tmp_path / "fake"
    (fake / "mcp-2.999.0.dist-info").mkdir(parents=True)
    state = tmp_path / "state"
    written = state / f"manifest-{__version__}-mcp-2.999.0.json"
    answers = []
    for instant in (False, True):
        with program("-c", REPORTING, fake=fake, NANO_BANANA_STATE_DIR=str(state)) as process:
            send(process, OPENED + b"".join(request(name, name) for name in LISTS))
            answers.append(sorted(receive(process, 5), key=lambda message: str(message["id"])))
            while not instant and not written.exists():
                send(process, request("again", "ping"))
                receive(process, 1)
            code, _, errors = finish(process)
        assert code == 0
        assert ("pydantic" not in errors.split()) is instant
    assert answers[0] == answers[1]
    assert os.listdir(state).count(written.name) == 1
