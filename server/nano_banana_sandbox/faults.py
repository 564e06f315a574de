"""The directives for faults: `sandbox:NAME=VALUE` anywhere in a prompt.

Pure: text in, `Directives` out. The same words, with or without the prefix, are the defaults of a `SandboxConfig`.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

PREFIX = "sandbox:"

Words = dict[str, str]

ANSWERS: Words = {
    "ok": "no fault (takes back a default)",
    "400": "bad request",
    "401": "invalid key",
    "402": "insufficient credits",
    "403": "forbidden",
    "404": "task not found",
    "429": "rate limit exceeded",
    "500": "internal server error",
    "502": "a gateway's HTML page; a submit is charged",
    "503": "service unavailable",
    "504": "a gateway's HTML page; a submit is charged",
    "code": 'HTTP 200 with `{"code": 1, …}`',
    "html": "HTTP 200 with an HTML page; charged",
    "truncated": "the JSON stops in the middle, with a matching Content-Length; charged",
    "short": "less is sent than Content-Length says, then the connection closes; charged",
    "empty": "HTTP 200 without a body; charged",
    "garbage": "JSON of another shape, a list; charged",
    "flat": "the right answer without its `data` wrapper; charged",
    "reset-before": "the connection is reset (RST) before anything is done; not charged",
    "reset-after": "charged, then the connection is reset (RST)",
    "hang": "charged, and never answered",
    "drip": "charged; the right answer at one byte a second",
}
RESULTS: Words = {
    "url": "one picture by its URL (the default)",
    "object": "a single object instead of a list",
    "null": "success, and `result` is null",
    "empty": "success, an empty list, and a reason that says it is billed all the same",
    "text": "success with words only",
    "mixed": "words and a picture",
    "many": "four pictures",
    "data-uri": "the picture itself, as a base64 data URI",
    "big-data-uri": "the same with about 5 MB",
    "string-items": "a list of bare URLs",
    "flat": "the query answers the bare task: neither `data` nor `code`",
    "failed": "the task fails and costs nothing",
}
CALLBACKS: Words = {
    "once": "when the task ends (the default)",
    "lost": "never",
    "double": "twice",
    "late": "3 seconds after the end",
    "early": "after a quarter of the time, claiming success; not again at the end",
}
IMAGES: Words = {
    "png": "the default",
    "jpeg": "ends in .jpg",
    "webp": "WebP",
    "gif": "256 colours",
    "mislabelled": "JPEG bytes under a .png URL and `image/png`",
}
FILES: Words = {
    "ok": "no fault (takes back a default)",
    "403": "`error code: 1010`, as every library's default User-Agent gets it",
    "404": "not found",
    "html": "HTTP 200 with an HTML page",
    "hang": "never answered",
    "redirect": "302, to a URL that works",
    "huge": "64 MB without a Content-Length",
}

# A submit with one of these faults is not charged. With any other fault it is.
REFUSALS = frozenset({"400", "401", "402", "403", "404", "429", "500", "503", "code", "reset-before"})


class DirectiveError(ValueError):
    """An unknown directive; the message lists the known ones."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the number of requests that it affects (`None`: all)."""

    kind: str
    times: int | None = None

    def strikes(self, nth: int) -> bool:
        """Whether the fault affects the nth request of its kind, counted from 1."""
        return self.kind != "ok" and (self.times is None or nth <= self.times)


@dataclass(frozen=True, slots=True)
class Directives:
    """How one task behaves."""

    seconds: float = 6.0
    grace: float = 0.0
    submit: Fault = Fault("ok")
    query: Fault = Fault("ok")
    file: Fault = Fault("ok")
    retry_after: int | None = None
    result: str = "url"
    consumed: str = "string"
    status: str | None = None
    id: str | None = None
    reason: str | None = None
    callback: str = "once"
    picture: str = "png"


def _duration(value: str) -> float:
    seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(value)
    return seconds


def _whole(value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", value):
        raise ValueError(value)
    return int(value)


def _word(value: str) -> str:
    if not value:
        raise ValueError(value)
    return value


def _sentence(value: str) -> str:
    return _word(value).replace("_", " ")


def _one_of(*words: str) -> Callable[[str], str]:
    def read(value: str) -> str:
        if value not in words:
            raise ValueError(value)
        return value

    return read


def _fault_of(*words: str) -> Callable[[str], Fault]:
    choice = _one_of(*words)

    def read(value: str) -> Fault:
        kind, star, times = value.partition("*")
        return Fault(choice(kind), _whole(times) if star else None)

    return read


@dataclass(frozen=True, slots=True)
class Directive:
    """One name of the vocabulary: the values for people, what it does, how a value is read, and its words if listed."""

    name: str
    values: str
    does: str
    read: Callable[[str], Any]
    words: Words


def _free(name: str, values: str, does: str, read: Callable[[str], Any]) -> Directive:
    return Directive(name, values, does, read, {})


def _choice(name: str, words: Words, does: str) -> Directive:
    return Directive(name, "|".join(words), does, _one_of(*words), words)


def _fault(name: str, words: Words, does: str) -> Directive:
    return Directive(name, "|".join(words), does, _fault_of(*words), words)


VOCABULARY = (
    _free("seconds", "F", "how long until the task ends (6)", _duration),
    _free("grace", "F", "seconds after the submit in which a query answers 404 (0)", _duration),
    _fault("submit", ANSWERS, "what a submit answers; `*N`: only the first N submits of this prompt"),
    _fault("query", ANSWERS, "what a query answers; `*N`: only the first N queries of this task"),
    _free("retry-after", "S", "adds a Retry-After header to 429 and 503", _whole),
    _choice("result", RESULTS, "what the finished task holds"),
    _choice("consumed", {"string": '`"0.500000"`', "number": "`0.5`", "null": "`null`"}, "the form of the price"),
    _free("status", "WORD", "the status word shown while the task works", _word),
    _choice("id", {"ta": "`ta` + UUID", "uuid": "a UUID that begins with `ta`"}, "the task id; by default in turns"),
    _free("reason", "WORDS_LIKE_THIS", "`status_reason.message` of the finished task", _sentence),
    _choice("callback", CALLBACKS, "when the callback is sent"),
    _choice("picture", IMAGES, "the format of the picture"),
    _fault("file", FILES, "what the picture's URL answers; `*N`: only the first N reads"),
)
_BY_NAME = {directive.name: directive for directive in VOCABULARY}


def parse(prompt: str, defaults: Directives) -> tuple[str, Directives]:
    """Split a prompt into its words for the picture and its directives, applied over the defaults.

    Raises:
        DirectiveError: a word with the prefix is not in the vocabulary.
    """
    words = prompt.split()
    wanted = [word for word in words if word.startswith(PREFIX)]
    image = " ".join(word for word in words if not word.startswith(PREFIX))
    return image, apply(wanted, defaults)


def apply(words: list[str], directives: Directives) -> Directives:
    """Apply `NAME=VALUE` words, prefixed or not; the last one of a name wins.

    Raises:
        DirectiveError: a word is not in the vocabulary.
    """
    for word in words:
        name, _, value = word.removeprefix(PREFIX).partition("=")
        try:
            read = _BY_NAME[name].read(value)
        except (KeyError, ValueError):
            vocabulary = ", ".join(f"{item.name}={item.values}" for item in VOCABULARY)
            raise DirectiveError(f"unknown sandbox directive {word[:100]!r}; known: {vocabulary}") from None
        directives = replace(directives, **{name.replace("-", "_"): read})
    return directives


def table() -> str:
    """The vocabulary as Markdown."""
    rows = ["| directive | effect |", "|---|---|"]
    for directive in VOCABULARY:
        values = directive.values if not directive.words else "…"
        rows.append(f"| **`sandbox:{directive.name}={values}`** | {directive.does} |")
        if directive.words is ANSWERS and directive.name == "query":
            rows[-1] = rows[-1].removesuffix(" |") + "; the words of `submit` |"
            continue
        rows += [f"| `{directive.name}={word}` | {meaning} |" for word, meaning in directive.words.items()]
    return "\n".join(rows) + "\n"
