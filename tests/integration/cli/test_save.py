"""`save`, and what the doctor says of folders: real processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from nano_banana_mcp.commands import save
from nano_banana_mcp.settings import load_settings
from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.server import serve_sandbox
from tests.integration.cli.test_cli import run
from tests.support.clients import KEY, client_at, facts

QUICK = SandboxConfig(seconds=0.0)


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


async def test_what_cannot_be_saved_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    async with serve_sandbox() as sandbox:
        settings = load_settings(base_url=sandbox.url, api_key=KEY, state_dir=tmp_path / "state")
        made = {}
        async with client_at(sandbox.url, state_dir=tmp_path / "state") as client:
            for words in ("seconds=3600", "seconds=0 result=failed", "seconds=0 file=404", "seconds=0"):
                prompt = " ".join(["a cat", *(f"sandbox:{word}" for word in words.split())])
                made[words] = facts(await client.call_tool("generate_image", {"prompt": prompt}))["task_id"]
        out = str(tmp_path / "out")
        for arguments, code, expected in (
            ((made["seconds=0"],), 2, "--output"),
            (("ta/../1", "--output", out), 2, "cannot be a task id"),
            (("ta-nobody", "--output", out), 1, "404"),
            ((made["seconds=3600"], "--output", out), 1, "no picture to save"),
            ((made["seconds=0 result=failed"], "--output", out), 1, "failed"),
            ((made["seconds=0 file=404"], "--output", out), 1, "picture 0: "),
            ((made["seconds=0"], "--output", str(tmp_path / "file")), 1, "Not a directory"),
            ((made["seconds=0"], "--output", str(tmp_path / "none" / "out")), 1, "No such file"),
        ):
            folder = Path(arguments[2]) if len(arguments) > 1 else None
            ended = await in_thread(save.run, settings, arguments[0], folder)
            printed = capsys.readouterr()
            assert (ended, printed.out) == (code, ""), (arguments, printed.err)
            assert printed.err.startswith("nano-banana-mcp save: ")
            assert expected in printed.err


async def test_a_tilde_that_no_shell_has_expanded_is_the_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with serve_sandbox(QUICK) as sandbox:
        settings = load_settings(base_url=sandbox.url, api_key=KEY, state_dir=tmp_path / "state")
        async with client_at(sandbox.url, state_dir=tmp_path / "state") as client:
            task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        assert await in_thread(save.run, settings, task_id, Path("~/kept")) == 0
        assert Path(capsys.readouterr().out.strip()).parent == tmp_path / "kept"
        assert await in_thread(save.run, settings, task_id, Path("~nobody-of-this-name/kept")) == 2
        assert "user who does not exist" in capsys.readouterr().err


async def test_settling_saves_what_has_ended(tmp_path: Path) -> None:
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


def test_the_demo_saves_where_the_setting_says(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    ended = run("demo", cwd=tmp_path, NANO_BANANA_SANDBOX_SECONDS="0", NANO_BANANA_OUTPUT_DIR=str(folder))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    [path] = folder.glob("*.png")
    assert f"File  {path}" in ended.stdout
    assert "a-lighthouse-at-dawn" in path.name


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
def test_the_doctor_looks_at_the_folders(
    output: str, inputs: str, code: int, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    settings = {"NANO_BANANA_OUTPUT_DIR": output.format(tmp_path), "NANO_BANANA_INPUT_DIRS": inputs.format(tmp_path)}
    ended = run("doctor", "--sandbox", settings=settings)
    assert ended.returncode == code, ended.stdout
    for words in expected:
        assert words in ended.stdout
    assert not list(tmp_path.rglob(".nano-banana-*"))
