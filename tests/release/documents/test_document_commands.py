"""Every command in the documents is run here as it stands, or said beside it not to be."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from nano_banana_mcp.cli import build_parser
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.media.image_folder import ImageFolder
from nano_banana_mcp.settings import load_settings
from nano_banana_mcp.storage import open_database
from tests.support.clients import clean_environment
from tests.support.command_line import run_here
from tests.support.document_commands import Block, blocks, documents, inline
from tests.support.gallery import drawn
from tests.support.image_samples import large_png

BLOCKS = [block for document in documents() for block in blocks(document)]
RUN = [block for block in BLOCKS if block.mark == "run"]
ONCE = list({block.commands: block for block in RUN}.values())
"""Translations have the same commands."""
TASK = "ta12345678-…"
HOST_FOLDERS = (".config/Claude", ".cursor")
"""Folders of the hosts that the documents install into."""
SERVERS = ("serve --http", "gallery", "uvicorn")
"""Commands that run until they are interrupted."""


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_command_is_run_by_a_test_or_said_not_to_be(block: Block) -> None:
    assert block.mark == "run" or block.mark.startswith(("run elsewhere: ", "not run: ")), block


def test_there_are_commands_that_are_run() -> None:
    assert {block.document for block in RUN} >= {"README.md", "README.ko.md", "docs/hosts.md", "docs/pictures.md"}


@pytest.mark.parametrize("command", sorted({item for document in documents() for item in inline(document)}))
def test_a_command_in_a_sentence_is_one_that_the_program_knows(command: str) -> None:
    words = shlex.split(command.replace("HOST", "cursor"))[1:]
    named = all(not word.startswith("-") for word in words)  # a command's name alone: what it needs is left out
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*words, "--help"])
    assert ended.value.code == 0
    if not named and "--help" not in words:
        build_parser().parse_args(words)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home folder with two hosts, the sandbox instead of the API, and one finished image in the ledger."""
    home, state = tmp_path / "home", tmp_path / "state"
    for folder in ("Pictures", *HOST_FOLDERS):
        (home / folder).mkdir(parents=True)
    generation = drawn("a lighthouse", url=None)
    with closing(open_database(load_settings(state_dir=state))) as ledger:
        ledger.save(generation)
    images = ImageFolder(state / "images")
    image = EncodedImage(large_png(64), "image/png")
    images.store(generation.generation_id, 0, image, is_only_copy=True, stored_at=generation.created_at)
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {
        **{name: value for name, value in clean_environment().items() if not name.startswith("XDG_")},
        "HOME": str(home),
        "PATH": tools,
        "NANO_BANANA_STATE_DIR": str(state),
        "NANO_BANANA_SANDBOX": "1",
        "NANO_BANANA_SANDBOX_SECONDS": "0.5",
        "NANO_BANANA_TOKEN": "nb_a-token",
        "BROWSER": "true",
        "TASK": generation.task_id or "",
    }


@pytest.mark.parametrize("block", ONCE, ids=str)
def test_the_commands_do_as_they_stand(block: Block, environment: dict[str, str], tmp_path: Path) -> None:
    for command in block.commands:
        line = command.replace(TASK, environment["TASK"])
        if any(server in line for server in SERVERS):
            _serves(line, environment, tmp_path)
        else:
            program, *words = shlex.split(line.replace("~", environment["HOME"]))
            assert program == "nano-banana-mcp"
            ended = run_here(*words, stdin="dk-a-key\n", settings=environment)
            assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
            assert ended.stdout + ended.stderr, line


def _serves(line: str, environment: dict[str, str], folder: Path) -> None:
    """Run ``line`` until it answers, and end it as a person would. Its port is any free one: others test as well."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with subprocess.Popen(
        ["bash", "-c", f"exec {line.replace('--port 8000', f'--port {port}')}"],
        env={**environment, "NANO_BANANA_PORT": port},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        address = f"http://127.0.0.1:{port}/healthz"
        if "gallery" in line:
            address = process.stdout.readline().removeprefix("Your pictures: ").strip()
        assert _answers(process, address) == 200
        process.send_signal(signal.SIGINT)
        _, problems = process.communicate(timeout=60)
        assert process.returncode in (0, 130), problems


def _answers(process: subprocess.Popen[str], address: str) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=60) as answer:
                return int(answer.status)
        except ConnectionRefusedError:
            pass
        except OSError as error:
            if not isinstance(getattr(error, "reason", None), ConnectionRefusedError):
                raise
        time.sleep(0.05)  # a process of its own, which does not report when it listens
    raise AssertionError(f"{address} did not answer: {process.stderr.read() if process.stderr else ''}")
