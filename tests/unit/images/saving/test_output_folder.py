"""The output folder of saved images."""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import multiprocessing
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.saving import output_folder as folder
from nano_banana_mcp.images.saving.output_folder import LINES, OutputFolder
from tests.support.image_samples import drawn
from tests.support.posix import posix_only
from tests.support.saved_images import FACTS, PNG, encoded_images, lines


def test_an_image_is_saved_with_a_line_about_it(tmp_path: Path) -> None:
    path = OutputFolder(tmp_path / "kept").save(PNG, FACTS)
    assert path == tmp_path / "kept" / "2026-11-18_11-06-40_a-lighthouse-at-dawn_ta1_0.png"
    assert encoded_images(tmp_path / "kept") == [path]
    assert lines(tmp_path / "kept") == [
        {
            "file": path.name,
            "prompt": "a lighthouse\nat dawn",
            "model": "google/gempix2",
            "task_id": "ta1",
            "number": 0,
            "url": "https://example.com/a.png",
            "credits": "0.500000",
            "created_at": "2026-11-18T11:06:40Z",
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
    ]


@posix_only
def test_a_new_folder_is_its_owners_alone_and_its_files_are_not_executable(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        path = OutputFolder(tmp_path / "kept").save(PNG, FACTS)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in (path, path.with_name(LINES))} == {0o644}


@pytest.mark.parametrize(("kind", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("GIF", "gif")])
def test_the_extension_is_that_of_the_bytes(tmp_path: Path, kind: str, extension: str) -> None:
    encoded = EncodedImage(drawn(kind), f"image/{kind.lower()}")
    path = OutputFolder(tmp_path).save(encoded, FACTS)
    assert path.suffix == f".{extension}"
    with Image.open(path) as opened, Image.open(io.BytesIO(encoded.data)) as before:
        assert opened.format == kind
        assert opened.tobytes() == before.tobytes()


def test_malformed_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    for number, data in enumerate((b"\x89PNG\r\n\x1a\n" + b"rubbish" * 9, b"\xff\xd8\xff\xe0", b"RIFF\0\0\0\0WEBP")):
        kind = ("image/png", "image/jpeg", "image/webp")[number]
        path = OutputFolder(tmp_path).save(EncodedImage(data, kind), replace(FACTS, number=number))
        assert path.read_bytes() == data


def test_an_image_is_saved_once_whatever_its_time_and_prompt(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    first = folder.save(PNG, FACTS)
    again = folder.save(PNG, replace(FACTS, created_at=0.0, prompt="others"))
    assert again == first
    assert len(lines(tmp_path)) == 1
    assert folder.save(PNG, replace(FACTS, number=1)) != first


def test_an_image_that_its_owner_has_changed_is_not_written_to(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    path = folder.save(PNG, FACTS)
    path.write_bytes(b"painted over")
    assert folder.save(PNG, FACTS) == path
    assert path.read_bytes() == b"painted over"


def save_in_another_process(folder: str, number: int) -> str:
    return str(OutputFolder(Path(folder)).save(PNG, replace(FACTS, number=number)))


@pytest.mark.slow
def test_many_processes_save_each_image_once_and_their_lines_do_not_mix(tmp_path: Path) -> None:
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
        paths = list(pool.map(save_in_another_process, [str(tmp_path)] * 80, sorted([*range(20)] * 4)))
    assert len(set(paths)) == 20
    assert {str(path) for path in encoded_images(tmp_path)} == set(paths)
    assert sorted(str(line["number"]) for line in lines(tmp_path)) == sorted(map(str, range(20)))


def test_a_line_stays_short_whatever_the_prompt_is(tmp_path: Path) -> None:
    OutputFolder(tmp_path).save(PNG, replace(FACTS, prompt="\0\x1b" + "등" * 30_000))
    assert len((tmp_path / LINES).read_bytes()) < 4_000
    assert str(lines(tmp_path)[0]["prompt"]).endswith("…")


def test_a_folder_that_vanished_is_made_again(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "kept")
    folder.save(PNG, FACTS).unlink()
    (tmp_path / "kept" / LINES).unlink()
    (tmp_path / "kept").rmdir()
    assert folder.save(PNG, FACTS).exists()


def test_an_image_that_is_kept_can_be_read_again(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    assert folder.read("ta1", 0) is None
    folder.save(PNG, FACTS)
    image = folder.read("ta1", 0)
    assert image is not None
    assert image.mime_type == "image/png"
    assert OutputFolder(tmp_path / "none").read("ta1", 0) is None


def test_a_saved_file_of_a_chosen_name_is_recognised_in_a_locale_that_lacks_its_letters(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path)
    folder.save(PNG, replace(FACTS, save_as="고양이"))
    assert folder.has_saved("고양이.png")
    assert folder.has_saved("고양이.png".encode().decode("ascii", "surrogateescape"))
    assert not folder.has_saved("개.png")


def test_saved_files_of_a_folder_are_recognised_and_others_are_not(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path)
    assert not output.has_saved("cat.png")
    (tmp_path / "dog.png").write_bytes(PNG.data)
    assert output.has_saved(output.save(PNG, FACTS).name)
    output.save(PNG, replace(FACTS, number=1, save_as="cat"))
    assert output.has_saved("cat-2.png")
    assert not output.has_saved("dog.png")


def test_an_image_of_a_chosen_name_is_found_by_its_task_and_number(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path)
    first = output.save(PNG, replace(FACTS, save_as="cat"))
    second = output.save(PNG, replace(FACTS, number=1, save_as="cat"))
    other = output.save(PNG, replace(FACTS, task_id="ta2", save_as="cat"))
    assert [path.name for path in (first, second, other)] == ["cat.png", "cat-2.png", "cat (2).png"]
    with (tmp_path / LINES).open("a") as index:
        index.write('no line, but with ta1 in it\n["ta1"]\n')
    assert (output.find("ta1", 0), output.find("ta1", 1), output.find("ta2", 0)) == (first, second, other)
    assert output.find("ta1", 2) is None
    assert output.find("ta3", 0) is None
    assert output.save(PNG, replace(FACTS, save_as="dog")) == first


@posix_only
def test_neither_a_link_nor_a_missing_file_is_the_saved_image_of_a_chosen_name(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "kept")
    saved = output.save(PNG, replace(FACTS, save_as="cat"))
    target = saved.rename(tmp_path / "cat.png")
    assert output.find("ta1", 0) is None
    saved.symlink_to(target)
    assert output.find("ta1", 0) is None


@posix_only
def test_an_index_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "kept")
    output.save(PNG, replace(FACTS, save_as="cat"))
    (output.path / LINES).rename(tmp_path / LINES)
    (output.path / LINES).symlink_to(tmp_path / LINES)
    assert not output.has_saved("cat.png")
    assert output.find("ta1", 0) is None


@posix_only
def test_a_link_of_a_chosen_name_is_not_taken_for_the_image_it_leads_to(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "kept")
    saved = output.save(PNG, replace(FACTS, save_as="cat"))
    (output.path / LINES).unlink()
    saved.symlink_to(saved.rename(tmp_path / "cat.png"))
    assert output.save(PNG, replace(FACTS, save_as="cat")).name == "cat (2).png"


def test_a_file_of_a_chosen_name_and_the_same_size_is_not_taken_for_the_image(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path)
    saved = output.save(PNG, replace(FACTS, save_as="cat"))
    (tmp_path / LINES).unlink()
    saved.write_bytes(bytes(saved.stat().st_size))
    assert output.save(PNG, replace(FACTS, save_as="cat")).name == "cat (2).png"


def test_an_index_with_bytes_of_another_encoding_is_still_read(tmp_path: Path) -> None:
    (tmp_path / LINES).write_bytes(b"\xff\xfe ta1\n")
    output = OutputFolder(tmp_path)
    saved = output.save(PNG, replace(FACTS, save_as="cat"))
    assert output.has_saved("cat.png")
    assert output.find("ta1", 0) == saved


def test_the_same_bytes_under_a_chosen_name_are_the_saved_image_and_others_get_the_next_free_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "MAX_COPIES", 3)
    output = OutputFolder(tmp_path)
    cat = replace(FACTS, save_as="cat")
    first = output.save(PNG, cat)
    (tmp_path / LINES).unlink()  # as if another process were about to write its line
    assert output.save(PNG, cat) == first
    names = [output.save(PNG, replace(cat, task_id=f"tb{number}")).name for number in range(3)]
    assert names == ["cat (2).png", "cat (3).png", "2026-11-18_11-06-40_a-lighthouse-at-dawn_tb2_0.png"]


def test_the_check_for_write_access_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = OutputFolder(tmp_path / "kept")
    folder.check()
    assert list(folder.path.iterdir()) == []
    (folder.path / LINES).write_text("a line\n")
    folder.check()
    assert (folder.path / LINES).read_text() == "a line\n"
    assert [file.name for file in folder.path.iterdir()] == [LINES]


def test_a_file_larger_than_the_maximum_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = OutputFolder(tmp_path)
    path = output.save(PNG, FACTS)
    data = path.read_bytes()
    with monkeypatch.context() as smaller:
        smaller.setattr(folder, "MAX_BYTES", len(data))
        assert output.read("ta1", 0) == EncodedImage(data, "image/png")
        smaller.setattr(folder, "MAX_BYTES", len(data) - 1)
        assert output.read("ta1", 0) is None
    os.truncate(path, 10**12)
    assert output.read("ta1", 0) is None


def test_a_line_has_null_for_unknown_facts_and_no_lone_surrogates(tmp_path: Path) -> None:
    OutputFolder(tmp_path).save(PNG, replace(FACTS, prompt=None, model="a\ud800", url=None, credits=None))
    [line] = lines(tmp_path)
    assert (line["prompt"], line["model"], line["url"], line["credits"]) == (None, "a?", None, None)
