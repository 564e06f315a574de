"""Runs the program of npm against a stdio server: in a terminal of its own, or headless."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.interop.claude_code.messages_api import Call, ScriptedModel, serving_model
from tests.lab.interop.environments import PINS
from tests.support import npm
from tests.support.clients import child

SERVER = "images"
PREFIX = f"mcp__{SERVER}__"
RUN_SECONDS = 180
QUIET_SECONDS = 1.5
"""When nothing has been drawn for this long, the program waits for a key."""

_KEY = "sk-ant-scripted-00000000000000000000000000"
_PACKAGE = "@anthropic-ai/claude-code-linux-x64"


@dataclass(frozen=True)
class Message:
    """One message between the host and the server.

    Attributes:
        time: Unix time in seconds.
        sender: ``host`` or ``server``.
    """

    time: float
    sender: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What one run showed.

    Attributes:
        wire: All messages, in order.
        results: Each tool that the model called, and the content that it was shown.
        messages: The conversation, as the model was last sent it.
    """

    wire: list[Message]
    results: list[tuple[str, list[dict[str, Any]]]]
    messages: list[dict[str, Any]]


def version() -> str:
    """The version that is run."""
    return str(PINS["claude-code"]["version"])


def program() -> str:
    """The path of the program, fetched by npm first where it is missing (about 200 MB).

    Raises:
        PackageUnavailableError: it cannot be had, or does not run here.
    """
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64":
        raise npm.PackageUnavailableError("it is run on Linux on x64 only")
    return str(npm.packages("claude-code", {_PACKAGE: version()}) / _PACKAGE / "claude")


def run(
    calls: Sequence[Call], *, interactive: bool, end: str | None = None, form: Sequence[bytes] = (), **settings: Any
) -> Record:
    """Have the program work through a script with a server on its sandbox. Nothing leaves this machine.

    Args:
        calls: What the model calls.
        interactive: Whether a person types the prompt into a terminal; else headless (``-p``).
        end: See :class:`ScriptedModel`.
        form: Keys that are typed into the form of the server's question, one by one.
        settings: Environment variables of the server.

    Raises:
        PackageUnavailableError: the program cannot be had.
        TimeoutError: the script was not played within :data:`RUN_SECONDS`.
    """
    command = [program(), "--mcp-config", "mcp.json", "--strict-mcp-config"]
    model = ScriptedModel(calls, PREFIX, end)
    with serving_model(model) as url, tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder).resolve()
        project = _prepare(home, settings)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(home),
            "TERM": "xterm-256color",
            "IS_SANDBOX": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "ENABLE_TOOL_SEARCH": "false",
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_API_KEY": _KEY,
        }
        if interactive:
            _type_into(command, project, environment, model, form)
        else:
            subprocess.run(
                [*command, "-p", "Go on."],
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=RUN_SECONDS,
                check=False,  # the script says whether it worked
            )
        if not model.ended.is_set():
            raise TimeoutError("the script was not played to its end")
        lines = (home / "wire.jsonl").read_text(encoding="utf-8").splitlines()
    return Record([Message(*json.loads(line)) for line in lines], model.results(), model.messages)


def _prepare(home: Path, settings: dict[str, Any]) -> Path:
    """A home in which the program asks for no set-up, and a project with the server. Returns the project's folder."""
    project = home / "project"
    project.mkdir()
    (home / ".claude").mkdir()
    state = {
        "hasCompletedOnboarding": True,
        "lastOnboardingVersion": version(),
        "theme": "dark",
        "customApiKeyResponses": {"approved": [_KEY[-20:]], "rejected": []},
        "projects": {str(project): {"hasTrustDialogAccepted": True}},
    }
    (home / ".claude.json").write_text(json.dumps(state))
    (home / ".claude" / "settings.json").write_text(json.dumps({"permissions": {"allow": [f"mcp__{SERVER}"]}}))
    start = child("--sandbox", NANO_BANANA_STATE_DIR=home / "state", **settings)
    tap = [str(Path(__file__).with_name("tap.py")), str(home / "wire.jsonl"), start.command, *start.args]
    server = {"command": sys.executable, "args": tap, "env": start.env}
    (project / "mcp.json").write_text(json.dumps({"mcpServers": {SERVER: server}}))
    return project


def _type_into(
    command: list[str], project: Path, environment: dict[str, str], model: ScriptedModel, form: Sequence[bytes]
) -> None:
    """Run in a terminal, and type the prompt once the tools are listed and the screen has come to rest."""
    import pty  # Unix alone has it

    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project)
        os.execve(command[0], command, environment)
    keys, form_keys = [b"Go on.", b"\r"], list(form)
    deadline = time.monotonic() + RUN_SECONDS
    drawn_at = time.monotonic()
    asked_at: float | None = None
    try:
        while not model.ended.is_set() and time.monotonic() < deadline:
            if select.select([terminal], [], [], 0.1)[0]:
                if os.read(terminal, 65_536):
                    drawn_at = time.monotonic()
            elif keys and time.monotonic() - drawn_at > QUIET_SECONDS and _was_sent(project, "tools"):
                os.write(terminal, keys.pop(0))
                drawn_at = time.monotonic()
            if asked_at is None:
                asked_at = time.monotonic() if form_keys and _was_sent(project, "inputRequests") else None
            elif form_keys and time.monotonic() - asked_at > QUIET_SECONDS:  # the screen is not at rest in a call
                os.write(terminal, form_keys.pop(0))
                asked_at = time.monotonic()
    except OSError:
        pass  # the program has ended, and its terminal with it
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def _was_sent(project: Path, name: str) -> bool:
    """Whether the server has sent a result with this field."""
    wire = project.parent / "wire.jsonl"
    lines = wire.read_text(encoding="utf-8").splitlines(keepends=True) if wire.exists() else []
    messages = [Message(*json.loads(line)) for line in lines if line.endswith("\n")]
    return any(name in message.body.get("result", {}) for message in messages if message.sender == "server")
