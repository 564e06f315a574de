"""Names of saved images: safe on every system, sortable by time, with words of the prompt.

``2026-11-24_14-03-05_a-lighthouse-at-dawn_ta12345678-…_0.png``: when it was requested (UTC), the prompt, the task and
the number of the image in it. The last two identify the image.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import UTC, datetime
from itertools import dropwhile
from pathlib import PurePath

from nano_banana_mcp.images.formats import EXTENSIONS
from nano_banana_mcp.images.local.windows_paths import is_special

MAX_WORDS_BYTES = 72
"""UTF-8 bytes of the prompt's part. A whole name stays below 143 bytes, the limit of encrypted file systems."""

MAX_ID_LENGTH = 40
"""Letters of the task's part: enough for a UUID with a short prefix."""

MAX_CHOSEN_BYTES = 120
"""UTF-8 bytes of a name that a caller chooses, which gets numbers and an extension."""

NO_WORDS = "picture"

_NAME = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[^_]+_(?P<id>[A-Za-z0-9_-]+)_(?P<number>\d{1,4})\.[a-z]{2,5}")

_INVISIBLE_LETTERS = {"\u115f", "\u1160", "\u3164", "\uffa0"}
"""Hangul fillers: letters in Unicode, but invisible."""


def file_name(*, created_at: float, prompt: str | None, task_id: str, number: int, extension: str) -> str:
    """Return the name of one image.

    Args:
        created_at: When it was requested, Unix seconds.
        extension: With its dot, of :func:`~nano_banana_mcp.images.formats.extension_for`.
    """
    moment = datetime.fromtimestamp(created_at, UTC).strftime("%Y-%m-%d_%H-%M-%S")
    return f"{moment}_{words_of(prompt or '')}_{_id_of(task_id)}_{number}{extension}"


def is_name_of(name: str, task_id: str, number: int) -> bool:
    """Return whether a file name is that of this image, with any time, words and extension."""
    match = _NAME.fullmatch(name)
    return match is not None and match["id"] == _id_of(task_id) and match["number"] == str(number)


def is_saved_name(name: str) -> bool:
    """Return whether a file name has the form of :func:`file_name`."""
    return _NAME.fullmatch(name) is not None


def chosen_name(name: str) -> str:
    """Return a file name of a caller's choice without the extension of an image, which follows the bytes.

    Raises:
        ValueError: It is no plain file name that every system accepts.
    """
    text = unicodedata.normalize("NFC", name.strip())
    suffix = PurePath(text).suffix
    chosen = text.removesuffix(suffix).rstrip() if suffix.lower() in EXTENSIONS else text
    if not chosen:
        raise ValueError("it must be a file name, such as sunset.png")
    if re.search(r'[/\\<>:"|?*]', chosen) or any(unicodedata.category(letter)[0] == "C" for letter in chosen):
        raise ValueError(
            'it must be a plain file name without folders, invisible characters and any of / \\ < > : " | ? *'
        )
    if chosen.startswith(".") or is_special(chosen):
        raise ValueError("this name is hidden or reserved on some systems; use another")
    if len(chosen.encode()) > MAX_CHOSEN_BYTES:
        raise ValueError(f"it must not be longer than {MAX_CHOSEN_BYTES} bytes")
    if is_saved_name(f"{chosen}.png"):
        raise ValueError("a name of this form belongs to another picture; use another")
    return chosen


def numbered(chosen: str, number: int, copy: int = 1) -> str:
    """Return the name of one of several images that were given one name, without extension.

    Args:
        number: Number of the image in its task, from 0.
        copy: From 1; further ones are for names that are taken.
    """
    name = chosen if number == 0 else f"{chosen}-{number + 1}"
    return name if copy == 1 else f"{name} ({copy})"


def words_of(prompt: str) -> str:
    """Return the prompt as a part of a name: letters and digits of every script, all else as single dashes."""
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


def _cut(words: str, max_bytes: int) -> str:
    encoded = words.encode()
    if len(encoded) <= max_bytes:
        return words
    cut = encoded[:max_bytes].decode(errors="ignore")
    whole = cut.rpartition("-")[0]
    return whole if 2 * len(whole.encode()) > max_bytes else cut


def _id_of(task_id: str) -> str:
    if len(task_id) <= MAX_ID_LENGTH:
        return task_id
    return f"{task_id[: MAX_ID_LENGTH - 9]}-{hashlib.sha256(task_id.encode()).hexdigest()[:8]}"
