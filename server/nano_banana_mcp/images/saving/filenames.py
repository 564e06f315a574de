"""Names of saved pictures: safe on every system, sortable by time, and telling.

``2026-11-24_14-03-05_a-lighthouse-at-dawn_ta12345678-…_0.png``: when it was asked for (UTC, so that the names sort
alike wherever they are made), the prompt, the task and the number of the picture in it. By the last two a picture is
found again.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import UTC, datetime
from itertools import dropwhile

MAX_WORDS_BYTES = 72
"""Of the prompt's part, in UTF-8. A whole name stays below 143 bytes, which even encrypted file systems allow."""

MAX_ID = 40
"""Of the task's part: all of the usual ids, which are a UUID and a few letters."""

NO_WORDS = "picture"

_NAME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[^_]+_(?P<id>[A-Za-z0-9_-]+)_(?P<number>\d{1,4})\.[a-z]{2,5}")

_INVISIBLE_LETTERS = {"\u115f", "\u1160", "\u3164", "\uffa0"}
"""Hangul's fillers: letters to Unicode, nothing to the eye."""


def file_name(*, created_at: float, prompt: str | None, task_id: str, number: int, extension: str) -> str:
    """The name of one picture.

    Args:
        created_at: When it was asked for, Unix seconds.
        extension: With its dot, of :func:`~nano_banana_mcp.images.formats.extension_for`.
    """
    moment = datetime.fromtimestamp(created_at, UTC).strftime("%Y-%m-%d_%H-%M-%S")
    return f"{moment}_{words_of(prompt or '')}_{_id_of(task_id)}_{number}{extension}"


def is_name_of(name: str, task_id: str, number: int) -> bool:
    """Whether a file's name says that it is this picture, whatever its time, its words and its extension are."""
    match = _NAME.fullmatch(name)
    return match is not None and match["id"] == _id_of(task_id) and match["number"] == str(number)


def words_of(prompt: str) -> str:
    """The prompt as a part of a name: letters and digits of every script, all else as single dashes."""
    letters = map(_letter, unicodedata.normalize("NFC", prompt[:1_000]).lower())
    words = re.findall("[^-]+", "".join(dropwhile(_begins_no_word, letters)))
    return _cut("-".join(words), MAX_WORDS_BYTES) or NO_WORDS


def _letter(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Cf" or letter in _INVISIBLE_LETTERS:
        return ""  # direction marks and joiners: inside a word, they are no gap
    return letter if kind.startswith(("L", "M", "N")) else "-"


def _begins_no_word(letter: str) -> bool:
    return letter in ("", "-") or unicodedata.category(letter).startswith("M")  # a mark would sit on the underscore


def _cut(words: str, most: int) -> str:
    encoded = words.encode()
    if len(encoded) <= most:
        return words
    kept = encoded[:most].decode(errors="ignore")
    whole = kept.rpartition("-")[0]
    return whole if 2 * len(whole.encode()) > most else kept


def _id_of(task_id: str) -> str:
    if len(task_id) <= MAX_ID:
        return task_id
    return f"{task_id[: MAX_ID - 9]}-{hashlib.sha256(task_id.encode()).hexdigest()[:8]}"
