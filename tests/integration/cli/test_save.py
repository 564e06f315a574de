"""`save`, and the folders in the report of the doctor."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from nano_banana_sandbox.server import serve_sandbox
from tests.support.clients import KEY, client_at, facts
from tests.support.command_line import run_here as run
from tests.support.sandbox import plain_config, plain_sandbox

QUICK = plain_config(seconds=0.0)


@pytest.mark.parametrize("how", ["--output", "the setting"])
@pytest.mark.parametrize("seen", [True, False])
async def test_a_tasks_images_are_saved_and_their_paths_printed(how: str, seen: bool, tmp_path: Path) -> None:
    """Whether this machine has seen its end before or has yet to ask."""
    folder = tmp_path / "kept"
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url, state_dir=tmp_path / "state") as client:
        made = await client.call_tool("generate_image", {"prompt": "cats sandbox:result=many"})
        task_id = facts(made)["task_id"]
        if seen:
            await client.call_tool("get_task", {"task_id": task_id})
        settings = {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
        }
        if how == "the setting":
            settings["NANO_BANANA_OUTPUT_DIR"] = str(folder)
        arguments = ["save", task_id, *(["--output", str(folder)] if how == "--output" else [])]
        ended = await in_thread(lambda: run(*arguments, settings=settings))
        assert ended.returncode == 0, ended.stderr
        paths = [Path(line) for line in ended.stdout.splitlines()]
        assert sorted(paths) == sorted(folder.glob("*.png"))
        assert len(paths) == 4
        for path in paths:
            with Image.open(path) as image:
                assert isinstance(image, PngImageFile)
                assert image.text["Task ID"] == task_id
        fetched = sandbox.stats.files
        again = await in_thread(lambda: run(*arguments, settings=settings))
        assert again.stdout == ended.stdout
        assert sandbox.stats.files == fetched
    assert len((folder / "pictures.jsonl").read_text().splitlines()) == 4


async def test_without_a_folder_images_are_saved_where_generate_saves_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serve_sandbox(QUICK) as sandbox, client_at(sandbox.url, state_dir=tmp_path / "state") as client:
        settings = {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
        }
        task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        missing = await in_thread(lambda: run("save", "ta-unknown", settings=settings))
        assert missing.returncode == 1
        assert not (tmp_path / "pictures").exists()
        ended = await in_thread(lambda: run("save", task_id, settings=settings))
        assert ended.returncode == 0, ended.stderr
        [path] = ended.stdout.splitlines()
        made = await in_thread(lambda: run("generate", "a dog", settings=settings))
        assert Path(made.stdout.splitlines()[0]).parent == Path(path).parent == tmp_path / "pictures"
        shown = await in_thread(lambda: run("history", task_id, settings=settings))
    assert path in shown.stdout


async def test_a_batch_is_saved_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    async with plain_sandbox(seconds=0) as sandbox:
        settings = {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
        }
        async with client_at(sandbox.url, state_dir=tmp_path / "state") as client:
            batch_id = facts(await client.call_tool("generate_image", {"prompt": "cats", "count": 3}))["task_id"]
        ended = await in_thread(lambda: run("save", batch_id[:11], f"--output={folder}", settings=settings))
        missing = await in_thread(lambda: run("save", "ba-missing", f"--output={folder}", settings=settings))
    assert len(ended.stdout.splitlines()) == len(list(folder.glob("*.png"))) == 3
    assert missing.returncode == 1
    assert "there is no batch 'ba-missing'" in missing.stderr


async def test_an_image_that_cannot_be_saved_has_a_readable_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with plain_sandbox() as sandbox:
        settings = {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
        }
        ids = {}
        async with client_at(sandbox.url, state_dir=tmp_path / "state") as client:
            for words in ("seconds=3600", "seconds=0 result=failed", "seconds=0 file=404", "seconds=0"):
                prompt = " ".join(["a cat", *(f"sandbox:{word}" for word in words.split())])
                ids[words] = facts(await client.call_tool("generate_image", {"prompt": prompt}))["task_id"]
        out = tmp_path / "out"
        for task_id, output, code, expected in (
            (ids["seconds=3600"], None, 1, "no picture to save"),
            (ids["seconds=0"], "~nobody-of-this-name/out", 2, "user who does not exist"),
            ("ta/../1", out, 2, "is not a task id"),
            ("ta-unknown", out, 1, "404"),
            (ids["seconds=3600"], out, 1, "no picture to save"),
            (ids["seconds=0 result=failed"], out, 1, "failed"),
            (ids["seconds=0 file=404"], out, 1, "picture 0: "),
            (ids["seconds=0"], tmp_path / "file", 1, "Not a directory"),
            (ids["seconds=0"], tmp_path / "none" / "out", 1, "No such file"),
        ):
            options = [] if output is None else [f"--output={output}"]
            ended = await in_thread(partial(run, "save", task_id, *options, settings=settings))
            assert (ended.returncode, ended.stdout) == (code, ""), ended.stderr
            assert ended.stderr.startswith("nano-banana-mcp save: ")
            assert expected in ended.stderr


async def test_a_tilde_that_no_shell_has_expanded_is_the_home(tmp_path: Path) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        settings = {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
            "HOME": str(tmp_path),
        }
        async with client_at(sandbox.url, state_dir=tmp_path / "state") as client:
            task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        ended = await in_thread(lambda: run("save", task_id, "--output=~/pictures", settings=settings))
    assert Path(ended.stdout.strip()).parent == tmp_path / "pictures", ended.stderr


async def test_settling_saves_finished_images(tmp_path: Path) -> None:
    async with serve_sandbox(QUICK) as sandbox:
        settings = {
            "DEFAPI_API_KEY": KEY,
            "DEFAPI_BASE_URL": sandbox.url,
            "NANO_BANANA_STATE_DIR": str(tmp_path / "state"),
        }
        async with client_at(sandbox.url, state_dir=tmp_path / "state") as client:
            await client.call_tool("generate_image", {"prompt": "a cat"})
        settings["NANO_BANANA_OUTPUT_DIR"] = str(tmp_path / "kept")
        ended = await in_thread(lambda: run("history", "settle", settings=settings))
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "kept").glob("*_a-cat_*.png"))) == 1


@pytest.mark.parametrize(
    ("output", "inputs", "code", "expected"),
    [
        ("{}/kept", "{}", 0, ["ok    output folder", "ok    input folder"]),
        ("{}/file", "{}", 1, ["FAIL  output folder", "Not a directory"]),
        ("{}/none/kept", "{}", 1, ["FAIL  output folder", "No such file"]),
        ("{}", "{}/none", 1, ["FAIL  input folder", "No such file"]),
        ("", "", 0, ["ok    output folder", "not set"]),
    ],
)
def test_the_doctor_checks_the_folders(
    output: str, inputs: str, code: int, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settings = {"NANO_BANANA_OUTPUT_DIR": output.format(tmp_path), "NANO_BANANA_INPUT_DIRS": inputs.format(tmp_path)}
    ended = run("doctor", "--sandbox", settings=settings)
    assert ended.returncode == code, ended.stdout
    for words in expected:
        assert words in ended.stdout
    assert not list(tmp_path.rglob(".nano-banana-*"))
