"""`generate`: images from the command line, with their paths, prices and errors for a person."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import anyio
import pytest
from anyio.to_thread import run_sync as in_thread
from PIL import Image

from nano_banana_mcp import cli
from nano_banana_mcp.commands.console import for_person
from nano_banana_mcp.commands.output_folders import FILE_NAME, remember_folder
from nano_banana_mcp.storage import open_database
from tests.support.clients import KEY, clean_environment
from tests.support.command_line import run_here
from tests.support.fault_server import Connection, fault_server
from tests.support.image_samples import large_png
from tests.support.sandbox import plain_sandbox, sandbox_thread
from tests.support.settings import settings_from

MODEL = "google/nano-banana-2"
"""One that takes an aspect ratio."""
FOR_MODELS = re.compile(
    r"wait_for_image|get_task|generate_image|get_account|browse_images|view_image|the user|task_id|request_id"
)


@pytest.fixture
def sandboxed(tmp_path: Path) -> Iterator[dict[str, str]]:
    with sandbox_thread(seconds=0) as sandbox:
        yield {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
            "NANO_BANANA_OUTPUT_DIR": str(tmp_path / "pictures"),
        }


def test_an_image_is_saved_and_its_path_and_price_are_printed(sandboxed: dict[str, str], tmp_path: Path) -> None:
    ended = run_here("generate", "a", "red", "boat", "--aspect-ratio", "16:9", "--model", MODEL, settings=sandboxed)
    assert ended.returncode == 0, ended.stderr
    path, price = ended.stdout.splitlines()
    assert Path(path).parent == tmp_path / "pictures"
    with Image.open(path) as image:
        assert image.width > image.height
    assert "free (sandbox)" in price
    assert MODEL in price
    assert re.search(r"^picture +success$", ended.stderr, re.MULTILINE)


@pytest.mark.parametrize("command", ["generate", "save"])
def test_history_and_delete_name_the_file_that_a_command_saved_in_a_folder_of_its_own(
    command: str, sandboxed: dict[str, str], tmp_path: Path
) -> None:
    """Not the stored copy, and wherever the command was run."""
    del sandboxed["NANO_BANANA_OUTPUT_DIR"]
    folder = tmp_path / "of my own"
    if command == "save":
        made = run_here("generate", "a cat", "--output", str(tmp_path / "other"), "--json", settings=sandboxed)
        [generation] = json.loads(made.stdout)["generations"]
        shutil.rmtree(tmp_path / "other")
        ended = run_here("save", generation["task_id"], "--output", folder, settings=sandboxed)
    else:
        ended = run_here(command, "a cat", "--output", folder, settings=sandboxed)
    assert ended.returncode == 0, ended.stderr
    [path] = folder.glob("*.png")
    [shown] = json.loads(run_here("history", "--json", settings=sandboxed).stdout)["generations"]
    assert shown["files"] == [str(path)]
    assert f"{path}\n" in run_here("history", settings=sandboxed).stdout
    copy = tmp_path / "copies"
    assert run_here("save", shown["task_id"], "--output", copy, settings=sandboxed).returncode == 0
    [copied] = copy.glob("*.png")
    shutil.rmtree(folder)
    [shown] = json.loads(run_here("history", "--json", settings=sandboxed).stdout)["generations"]
    assert shown["files"] == [str(copied)]
    shutil.copytree(copy, folder)
    deleted = run_here("delete", shown["task_id"], "--yes", settings=sandboxed).stdout
    for saved in (copied, folder / copied.name):
        assert f"The saved file was kept. Delete it yourself: {saved}" in deleted


def test_where_no_saved_file_is_left_history_names_the_stored_copy(sandboxed: dict[str, str], tmp_path: Path) -> None:
    del sandboxed["NANO_BANANA_OUTPUT_DIR"]
    assert run_here("generate", "a cat", "--output", tmp_path / "out", settings=sandboxed).returncode == 0
    shutil.rmtree(tmp_path / "out")
    [shown] = json.loads(run_here("history", "--json", settings=sandboxed).stdout)["generations"]
    [stored] = shown["files"]
    assert Path(stored).is_relative_to(tmp_path / "state")
    (tmp_path / "state" / FILE_NAME).write_text("spoiled")
    assert run_here("history", settings=sandboxed).returncode == 0


def test_the_folders_of_the_commands_are_remembered_newest_first_and_ten_of_them(tmp_path: Path) -> None:
    settings = settings_from({"NANO_BANANA_STATE_DIR": str(tmp_path / "state")})
    for number in (*range(12), 5):
        remember_folder(settings, tmp_path / str(number))
    remembered = json.loads((tmp_path / "state" / FILE_NAME).read_bytes())
    assert remembered == [str(tmp_path / str(number)) for number in (5, 11, 10, 9, 8, 7, 6, 4, 3, 2)]


def test_a_person_who_types_a_command_is_not_asked_to_confirm_it(sandboxed: dict[str, str], tmp_path: Path) -> None:
    ended = run_here("generate", "a cat", settings={**sandboxed, "NANO_BANANA_CONFIRM": "always"})
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 1


def test_a_count_makes_that_many_images_in_one_batch_as_json(sandboxed: dict[str, str]) -> None:
    ended = run_here("generate", "a cat", "--count", "3", "--json", settings=sandboxed)
    report = json.loads(ended.stdout)
    assert report["errors"] == []
    files = [Path(file) for generation in report["generations"] for file in generation["files"]]
    assert len(set(files)) == 3
    assert all(file.is_file() for file in files)
    batch_ids = {generation["batch_id"] for generation in report["generations"]}
    assert len(batch_ids) == 1
    assert str(batch_ids.pop()).startswith("ba-")


def test_a_count_beyond_the_budget_is_refused_before_any_image_is_submitted(sandboxed: dict[str, str]) -> None:
    settings = {**sandboxed, "NANO_BANANA_CREDITS_PER_DAY": "1.5"}
    ended = run_here("generate", "a cat", "--count", "4", settings=settings)
    assert ended.returncode == 1
    assert "These 4 images would exceed your budget of 1.5 credits per day" in ended.stderr
    ledger = open_database(settings_from(settings))
    assert ledger.history() == []
    ledger.close()


def test_files_anywhere_can_be_edited_since_the_person_names_them(sandboxed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "cat.png").write_bytes(large_png(64))
    ended = run_here("generate", "at night", "--image", tmp_path / "a folder" / "cat.png", settings=sandboxed)
    assert ended.returncode == 0, ended.stderr
    ledger = open_database(settings_from(sandboxed))
    [generation] = ledger.history()
    ledger.close()
    assert generation.options
    assert "1 reference" in generation.options


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--count", "0"], "--count"),
        (["--count", "5"], "--count"),
        (["--image", "no-such-file.png"], "no-such-file.png"),
        (["--aspect-ratio", "wide"], "--aspect-ratio"),
        (["--image", "a"] * 5, "--image"),
    ],
)
def test_an_unusable_argument_is_named_in_one_line_before_anything_is_sent(
    words: list[str], named: str, sandboxed: dict[str, str]
) -> None:
    ended = run_here("generate", "a cat", *words, settings=sandboxed)
    assert ended.returncode == 2
    [line] = ended.stderr.splitlines()
    assert named in line
    assert not FOR_MODELS.search(line)


def test_without_a_key_the_error_says_where_to_get_one_and_how_to_store_it(tmp_path: Path) -> None:
    settings = {"NANO_BANANA_STATE_DIR": str(tmp_path), "NANO_BANANA_OUTPUT_DIR": str(tmp_path / "out")}
    ended = run_here("generate", "a cat", settings=settings)
    assert ended.returncode == 1
    for words in ("https://defapi.org", "key set", "--sandbox"):
        assert words in ended.stderr
    assert not FOR_MODELS.search(ended.stderr)


@pytest.mark.parametrize(
    "directive", ["submit=401", "submit=402", "submit=400", "submit=500*9", "submit=drop", "result=text", "end=failed"]
)
async def test_a_failure_is_explained_to_a_person_and_not_to_a_model(directive: str, tmp_path: Path) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        settings = {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "DEFAPI_TIMEOUT_SECONDS": "2",
            "NANO_BANANA_STATE_DIR": str(tmp_path),
            "NANO_BANANA_OUTPUT_DIR": str(tmp_path / "out"),
        }
        words = ("generate", f"a cat sandbox:{directive}")
        ended = await in_thread(lambda: run_here(*words, settings=settings))
    assert ended.returncode == 1, ended.stdout
    assert ended.stderr.splitlines()[-1].startswith("nano-banana-mcp generate: ")
    assert not FOR_MODELS.search(ended.stderr), ended.stderr


def test_advice_for_a_model_is_replaced_wherever_a_command_prints_an_error() -> None:
    from nano_banana_mcp.defapi import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DefapiError)]
    assert len(kinds) > 8
    for kind in kinds:
        assert not FOR_MODELS.search(for_person(f"What happened. {kind.hint}")), kind


def test_a_picture_that_cannot_be_downloaded_is_reported_in_whole_sentences(sandboxed: dict[str, str]) -> None:
    ended = run_here("generate", "a cat sandbox:file=404", settings=sandboxed)
    assert ended.returncode == 1
    assert "A picture is paid for but not saved" in ended.stderr
    assert ".. " not in ended.stderr


def test_a_folder_of_the_settings_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = tmp_path / "file" / "pictures"
    ended = run_here("--sandbox", "generate", "a cat", settings={"NANO_BANANA_OUTPUT_DIR": str(folder)})
    assert ended.returncode == 1
    assert f"cannot save in {folder}: " in ended.stderr
    assert "Nothing was sent" in ended.stderr


def test_an_unknown_outcome_has_its_id_and_says_what_to_check(sandboxed: dict[str, str]) -> None:
    ended = run_here("generate", "a cat sandbox:submit=reset-after", settings=sandboxed)
    assert ended.returncode == 1
    assert re.search(r"in-\S+: .* Do not repeat it at once: it could be charged twice", ended.stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_ctrl_c_prints_how_to_get_the_paid_image(sandboxed: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nano_banana_mcp", "generate", "a slow cat sandbox:seconds=3600"],
        env={**clean_environment(), **sandboxed},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert "pending" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert re.search(r"nano-banana-mcp save ta\S+", rest)
    assert "Traceback" not in rest


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_ctrl_c_during_the_submit_says_that_it_may_be_charged(tmp_path: Path) -> None:
    interrupted = anyio.Event()

    async def answer_after_the_signal(connection: Connection) -> None:
        await connection.read()
        await interrupted.wait()
        connection.reset()

    async with fault_server(answer_after_the_signal) as api:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": api.url, "NANO_BANANA_STATE_DIR": str(tmp_path)}
        command = [sys.executable, "-m", "nano_banana_mcp", "generate", "a cat", "--output", str(tmp_path)]
        async with await anyio.open_process(command, env={**clean_environment(), **settings}) as process:
            await api.arrived()
            process.send_signal(signal.SIGINT)
            interrupted.set()
            assert process.stderr is not None
            said = b"".join([part async for part in process.stderr]).decode()
            assert await process.wait() == 130
    assert "If the request was sent already, it is charged: `nano-banana-mcp history` shows it." in said
    assert "Traceback" not in said


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="terminals of POSIX")
@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_no_color_leaves_no_colour(no_color: str, sandboxed: dict[str, str]) -> None:
    run_here("generate", "a cat", settings=sandboxed)
    leader, follower = os.openpty()
    with (
        mock.patch.dict(os.environ, {**sandboxed, "NO_COLOR": no_color, "TERM": "xterm-256color"}),
        os.fdopen(follower, "w", encoding="utf-8") as terminal,
        redirect_stdout(terminal),
    ):
        assert cli.main(["history"]) == 0
    output = b""
    with suppress(OSError):  # the last writer has gone
        while part := os.read(leader, 65_536):
            output += part
    os.close(leader)
    assert b"a cat" in output
    assert (b"\x1b[" in output) is not bool(no_color)
