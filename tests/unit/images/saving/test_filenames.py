"""File names of saved images, for any prompt."""

from __future__ import annotations

import hashlib
import re
import time
import unicodedata
from pathlib import Path

import pytest

from nano_banana_mcp.images.saving.filenames import (
    MAX_CHOSEN_BYTES,
    NO_WORDS,
    chosen_name,
    file_name,
    is_name_of,
    numbered,
    words_of,
)

TASK = "ta823dfb-eb8e-4bd8-8b5c-3e1a7a1b2c3d"

PROMPTS = [
    "a lighthouse at dawn",
    "",
    " \n\t",
    "새벽의 등대",
    "새벽의 등대 " * 100,
    unicodedata.normalize("NFD", "등대와 바다"),
    "מגדלור עם שחר",
    "منارة عند الفجر",
    "\u202egnp.exe\u202c a cat",
    "one\nline\rand\x00another\x1b[31m",
    "CON",
    "aux.txt",
    "LPT1:",
    'a/b\\c:d*e?f"g<h>i|j',
    "../../etc/passwd",
    "....",
    "ends with dots...",
    "~root",
    "-rf *",
    "🐈🐈🐈",
    "a 👩‍👩‍👧‍👦 family",
    "x" * 5_000,
    "é" * 5_000,
    "🐈" * 5_000,
    "ㅤㅤㅤ",
    "e" + "\u0301" * 3_000,
    "\u0301\u0302 marks first",
    "under_scores_in_it",
    "\ud800 half a letter",
    "İstanbul",
    "%2e%2e%2f$HOME`id`",
]


@pytest.mark.parametrize("prompt", PROMPTS, ids=[ascii(prompt)[:30].replace("\\", "") for prompt in PROMPTS])
def test_every_prompt_makes_a_name_that_is_safe_on_every_system(prompt: str, tmp_path: Path) -> None:
    name = file_name(created_at=1_795_000_000.0, prompt=prompt, task_id=TASK, number=3, extension=".png")
    assert len(name.encode()) <= 143
    assert re.match(r"2026-11-18_11-06-40_[^_]+_ta823dfb-[0-9a-f-]+_3\.png$", name)
    assert not set(name) & set('/\\:*?"<>|\0 \n\r\t')
    assert all(unicodedata.category(letter)[0] in "LMN" or letter in "-_." for letter in name)
    assert name.count("_") == 4
    assert name.count(".") == 1
    assert is_name_of(name, TASK, 3)
    (tmp_path / name).write_bytes(b"")
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("A lighthouse, at dawn!", "a-lighthouse-at-dawn"),
        ("새벽의 등대", "새벽의-등대"),
        ("🐈", NO_WORDS),
        ("a \u202eright\u202c turn", "a-right-turn"),
        ("in\u200dside", "inside"),
        ("ㅤ", NO_WORDS),
        ("\u0301\u0302 marks first", "marks-first"),
        ("\u200b\u0301-marks", "marks"),
        ("(\u0301mark)", "mark"),
        ("\u0e40\u0e01\u0e49", "\u0e40\u0e01\u0e49"),
        ("(1) x__y-", "1-x-y"),
        ("word " * 30, "-".join(["word"] * 14)),
        ("abc " * 17 + "abcd", "abc-" * 17 + "abcd"),
        ("x" * 80, "x" * 72),
        ("x" * 36 + " " + "y" * 80, "x" * 36 + "-" + "y" * 35),
        ("x" * 37 + " " + "y" * 80, "x" * 37),
        ("등" * 80, "등" * 24),
        ("x" + "등" * 80, "x" + "등" * 23),
    ],
)
def test_the_words_of_a_file_name_are_those_of_the_prompt(prompt: str, words: str) -> None:
    assert words_of(prompt) == words


@pytest.mark.parametrize(
    ("task_id", "part"),
    [
        (TASK, TASK),
        ("t" * 40, "t" * 40),
        ("t" * 41, "t" * 31 + "-" + hashlib.sha256(b"t" * 41).hexdigest()[:8]),
    ],
)
def test_a_name_holds_the_id_or_its_beginning_and_a_digest(task_id: str, part: str) -> None:
    name = file_name(created_at=0.0, prompt=None, task_id=task_id, number=12, extension=".png")
    assert name == f"1970-01-01_00-00-00_{NO_WORDS}_{part}_12.png"


def test_the_time_of_a_name_is_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setenv("TZ", "KST-9")
        time.tzset()
        name = file_name(created_at=0.0, prompt="a", task_id="ta1", number=0, extension=".png")
    time.tzset()
    assert name == "1970-01-01_00-00-00_a_ta1_0.png"


def test_names_sort_by_time() -> None:
    times = [0.0, 999_999_999.0, 1_000_000_000.0, 1_795_000_000.0, 1_795_000_001.0]
    names = [
        file_name(created_at=time, prompt=prompt, task_id=TASK, number=0, extension=".png")
        for time, prompt in zip(times, "zyxwv", strict=True)
    ]
    assert names == sorted(names)


@pytest.mark.parametrize("task_id", ["ta1", "a_b", "b", "t" * 128, "t" * 127 + "u", "a_b_0", "-"])
@pytest.mark.parametrize("number", [0, 1, 10])
def test_a_name_is_of_one_task_and_one_number_only(task_id: str, number: int) -> None:
    name = file_name(created_at=0.0, prompt="a_b 0_1", task_id=task_id, number=number, extension=".jpg")
    assert len(name.encode()) <= 143
    for other in ("ta1", "a_b", "b", "t" * 128, "t" * 127 + "u", "a_b_0", "-"):
        for other_number in (0, 1, 10):
            assert is_name_of(name, other, other_number) is ((other, other_number) == (task_id, number))


@pytest.mark.parametrize("name", ["", "cat.png", ".nano-banana-1", "pictures.jsonl", "2026-11-24_ta1_0.png"])
def test_foreign_files_are_not_taken_for_saved_images(name: str) -> None:
    assert not is_name_of(name, "ta1", 0)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("cat.png", "cat"),
        (" cat.JPEG ", "cat"),
        ("cat .webp", "cat"),
        ("cat", "cat"),
        ("version 1.5", "version 1.5"),
        ("cat.txt", "cat.txt"),
        (unicodedata.normalize("NFD", "고양이.png"), "고양이"),
        ("c" * MAX_CHOSEN_BYTES + ".png", "c" * MAX_CHOSEN_BYTES),
    ],
)
def test_a_chosen_name_loses_the_extension_of_an_image_and_nothing_else(name: str, chosen: str) -> None:
    assert chosen_name(name) == chosen


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "it must be a file name, such as sunset.png"),
        (" ", "it must be a file name, such as sunset.png"),
        *[
            (
                name,
                'it must be a plain file name without folders, invisible characters and any of / \\ < > : " | ? *',
            )
            for name in ("a/b", "a\\b", "a<b", "a>b", "a:b", 'a"b', "a|b", "a?b", "a*b", "a\nb", "a\u202eb", "a\ud800b")
        ],
        *[
            (name, "this name is hidden or reserved on some systems; use another")
            for name in (".png", ".hidden", "nul.png", "com1", "cat.")
        ],
        ("c" * (MAX_CHOSEN_BYTES + 1), "it must not be longer than 120 bytes"),
        ("é" * 61, "it must not be longer than 120 bytes"),
        ("2026-11-18_11-06-40_a_ta1_0.png", "a name of this form belongs to another picture; use another"),
    ],
)
def test_a_chosen_name_that_some_system_would_not_take_is_refused(name: str, words: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - its words are compared
        chosen_name(name)
    assert str(refused.value) == words


@pytest.mark.parametrize(
    ("number", "copy", "name"),
    [(0, 1, "cat"), (1, 1, "cat-2"), (3, 1, "cat-4"), (0, 2, "cat (2)"), (1, 3, "cat-2 (3)")],
)
def test_several_images_of_one_chosen_name_are_numbered(number: int, copy: int, name: str) -> None:
    assert numbered("cat", number, copy) == name
    assert numbered("cat", number) == numbered("cat", number, 1)
