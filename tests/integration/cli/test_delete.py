"""`delete`, and ids that are shortened to a unique beginning."""

from __future__ import annotations

import io
import json
from contextlib import closing
from pathlib import Path

import anyio
import pytest
from PIL import Image

from nano_banana_mcp.generations.models import Status
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.storage import open_database
from tests.support.command_line import run_here
from tests.support.gallery import drawn, save_with_image
from tests.support.generations import new_batch
from tests.support.image_samples import drawn as drawn_image
from tests.support.settings import settings_from
from tests.support.uploads import save_upload

CAT, DOG = drawn("a cat", url=None), drawn("a dog", url=None)
WAITING = drawn("a slow one", status=Status.IN_PROGRESS, images=(), finished_at=None, credits_consumed=None)


@pytest.fixture(params=["disk", "PostgreSQL"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    variables = {"NANO_BANANA_STATE_DIR": str(tmp_path / "state"), "NANO_BANANA_SANDBOX": "1"}
    if request.param == "PostgreSQL":
        variables["NANO_BANANA_LEDGER_URL"] = request.getfixturevalue("database")
    for colour, generation in (("red", CAT), ("blue", DOG)):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), colour).save(file, "PNG")
        save_with_image(settings_from(variables), generation, EncodedImage(file.getvalue(), "image/png"))
    with closing(open_database(settings_from(variables))) as ledger:
        ledger.save(WAITING)
    return variables


def prompts(settings: dict[str, str]) -> set[str | None]:
    with closing(open_database(settings_from(settings))) as ledger:
        return {generation.prompt for generation in ledger.history()}


def files(settings: dict[str, str]) -> int:
    folder = Path(settings["NANO_BANANA_STATE_DIR"]) / "images" / "files"
    return sum(path.is_file() for path in folder.rglob("*")) if folder.exists() else 0


def unique_beginning(public_id: str) -> str:
    others = [generation.public_id for generation in (CAT, DOG, WAITING) if generation.public_id != public_id]
    others += [generation.generation_id for generation in (CAT, DOG, WAITING)]
    return next(
        public_id[:letters]
        for letters in range(3, len(public_id) + 1)
        if not any(other.startswith(public_id[:letters]) for other in others)
    )


def test_a_deleted_image_is_gone_from_the_ledger_with_its_bytes(settings: dict[str, str]) -> None:
    before = files(settings)
    ended = run_here("delete", unique_beginning(CAT.public_id), settings=settings)
    assert ended.returncode == 0, ended.stderr
    assert CAT.public_id in ended.stdout
    assert prompts(settings) == {"a dog", "a slow one"}
    if "NANO_BANANA_LEDGER_URL" not in settings:
        assert files(settings) == before - 1


def test_an_ambiguous_beginning_deletes_nothing_and_lists_the_ids(settings: dict[str, str]) -> None:
    ended = run_here("delete", CAT.public_id[:2], settings=settings)
    assert ended.returncode == 1
    assert CAT.public_id in ended.stderr
    assert DOG.public_id in ended.stderr
    assert len(prompts(settings)) == 3


@pytest.mark.parametrize("word", ["ta-no-such-task", "../../etc/passwd", "%", "_", ""])
def test_an_id_that_does_not_exist_deletes_nothing(word: str, settings: dict[str, str]) -> None:
    ended = run_here("delete", word, settings=settings)
    assert ended.returncode == 1
    assert "history" in ended.stderr
    assert len(prompts(settings)) == 3


def test_one_wrong_id_among_several_deletes_nothing(settings: dict[str, str]) -> None:
    assert run_here("delete", CAT.public_id, "ta-no-such-task", settings=settings).returncode == 1
    assert len(prompts(settings)) == 3


def test_an_unfinished_request_is_deleted_only_by_force(settings: dict[str, str]) -> None:
    refused = run_here("delete", WAITING.public_id, settings=settings)
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert run_here("delete", WAITING.public_id, "--force", settings=settings).returncode == 0
    assert "a slow one" not in prompts(settings)


def test_a_batch_is_deleted_by_its_id_with_what_was_never_sent_of_it(settings: dict[str, str]) -> None:
    with closing(open_database(settings_from(settings))) as ledger:
        ledger.begin_batch(new_batch(2, batch_id="ba-of-two"))
    ended = run_here("delete", "ba-of", settings=settings)
    assert ended.returncode == 0, ended.stderr
    assert prompts(settings) == {"a cat", "a dog", "a slow one"}


def test_history_shows_one_request_by_its_beginning(settings: dict[str, str]) -> None:
    beginning = unique_beginning(DOG.public_id)
    shown = json.loads(run_here("history", beginning, "--json", settings=settings).stdout)
    assert shown["prompt"] == "a dog"
    assert "a dog" in run_here("history", beginning, settings=settings).stdout


def test_save_takes_a_beginning_and_history_then_names_the_file(settings: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "out"
    saved = run_here("save", unique_beginning(CAT.public_id), "--output", folder, settings=settings)
    assert saved.returncode == 0, saved.stderr
    [path] = saved.stdout.splitlines()
    shown = run_here("history", settings=settings, NANO_BANANA_OUTPUT_DIR=str(folder)).stdout
    assert path in shown
    assert "gempix2" in shown


def test_a_deleted_upload_is_gone_with_its_bytes(settings: dict[str, str]) -> None:
    before = files(settings)
    reference_id = anyio.run(save_upload, settings, drawn_image("PNG"))
    assert files(settings) == before + 1
    assert run_here("delete", reference_id, "ta-no-such-task", settings=settings).returncode == 1
    ended = run_here("delete", reference_id, settings=settings)
    assert (ended.returncode, ended.stdout) == (0, f"{reference_id} is deleted.\n"), ended.stderr
    assert files(settings) == before
    with closing(open_database(settings_from(settings))) as ledger:
        assert ledger.find_upload(reference_id) is None
    again = run_here("delete", reference_id, settings=settings)
    assert again.returncode == 1
    assert "there is no upload" in again.stderr
