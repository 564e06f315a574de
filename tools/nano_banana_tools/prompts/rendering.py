"""From what a person fills in to a brief for the assistant.

What is filled in is data: each value becomes a line of its own, and nothing in it can break out of that line.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, GetPromptResult, PromptArgument, PromptMessage, TextContent
from mcp.types import Prompt as ListedPrompt
from pydantic import TypeAdapter, ValidationError

from nano_banana_tools import errors as boundary
from nano_banana_tools.arguments import MAX_REFERENCES, AspectRatio, ImageSize, Model, ReferenceResolver, TaskId

MAX_VALUE = 2_000
"""Characters that one argument may have."""

_PARTS = re.compile(r"[\r\n\u2028\u2029]+|\s/\s")
_IMAGES = re.compile(r"[\r\n\u2028\u2029]+|,\s+|\s+(?=(?:https?|nanobanana|file)://)")
_UNSEEN = frozenset({"Cf", "Cs", "Co"})
_JOINERS = "\u200c\u200d"  # without them Persian is misspelt, and a family of emoji falls apart


@dataclass(frozen=True, slots=True)
class Argument:
    """One thing that a person may fill in.

    Attributes:
        label: What its lines begin with in the brief.
        suggests: What is offered for it, besides what is looked up.
        parts: What lies between two values, where it takes several.
        most: How many those may be.
        kind: How a tool would check it.
    """

    name: str
    label: str
    description: str
    required: bool = False
    suggests: tuple[str, ...] = ()
    parts: re.Pattern[str] | None = None
    most: int = 1
    kind: Any = None


def several(name: str, label: str, description: str, most: int, **more: Any) -> Argument:
    """An argument whose values stand on lines of their own, or between " / "."""
    return Argument(name, label, description, parts=_PARTS, most=most, **more)


def images(description: str, most: int = MAX_REFERENCES, *, required: bool = False) -> Argument:
    """The argument for references."""
    told = f"{description} Up to {most}: URLs, or resource_uris of pictures made before, with commas between."
    return Argument("images", "Picture", told, required, parts=_IMAGES, most=most, kind=ReferenceResolver)


def style(*suggests: str) -> Argument:
    """The argument for how it should look."""
    return Argument("style", "Style", "How it should look.", suggests=suggests)


ASPECT_RATIO = Argument("aspect_ratio", "Format", "Width to height, such as 4:5.", kind=AspectRatio)
IMAGE_SIZE = Argument("image_size", "Size", "1k, 2k or 4k.", kind=ImageSize)
MODEL = Argument("model", "Model", "Leave empty for the usual one.", kind=Model)
TASK_ID = Argument("task_id", "Task", "A task whose first picture shows it already.", kind=TaskId)
AS_A_CALL = frozenset({"images", "task_id", "aspect_ratio", "image_size", "model"})
"""Arguments that the brief names where it says what to call, and not among the wishes."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a person filled in, checked and cleaned: the values of each argument; what was left empty is absent."""

    values: Mapping[str, list[str]]
    default_model: str

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str) -> str | None:
        """The one value of an argument; None where it was left empty."""
        return self.values[name][0] if name in self.values else None

    @property
    def model(self) -> str:
        """The model that will draw."""
        return self.get("model") or self.default_model


@dataclass(frozen=True, slots=True)
class Job:
    """One prompt.

    Attributes:
        wish: The first sentence of the brief.
        advice: How to write for the image model, and what to call, given what was filled in.
    """

    name: str
    title: str
    description: str
    arguments: tuple[Argument, ...]
    wish: str
    advice: Callable[[Given], str]


def listed(jobs: Mapping[str, Job]) -> list[ListedPrompt]:
    """The answer to ``prompts/list``."""
    return [
        ListedPrompt(
            name=job.name,
            title=job.title,
            description=job.description,
            arguments=[
                PromptArgument(name=each.name, description=each.description, required=each.required)
                for each in job.arguments
            ],
        )
        for job in jobs.values()
    ]


def rendered(
    jobs: Mapping[str, Job], name: str, arguments: Mapping[str, str] | None, default_model: str
) -> GetPromptResult:
    """The answer to ``prompts/get``.

    Raises:
        MCPError: there is no such prompt, or what was filled in does not do; in words.
    """
    job = find(jobs, name)
    given = Given(_read(job, arguments or {}), default_model)
    brief = "\n\n".join([job.wish, *_wishes(job, given), job.advice(given)])
    message = PromptMessage(role="user", content=TextContent(type="text", text=brief))
    return GetPromptResult(description=job.description, messages=[message])


def find(jobs: Mapping[str, Job], name: str) -> Job:
    """The prompt of this name.

    Raises:
        MCPError: there is none.
    """
    if name not in jobs:
        raise MCPError(INVALID_PARAMS, f"There is no prompt {one_line(name[:80])!r}. There are: {', '.join(jobs)}.")
    return jobs[name]


def one_line(text: str) -> str:
    """``text`` without what cannot be seen or would break its line: controls, marks of direction, private letters.

    What is not assigned stays: to an older Python a new emoji is not.
    """

    def as_data(letter: str) -> str:
        category = unicodedata.category(letter)
        if category == "Cc" or category[0] == "Z":
            return " "
        return "" if category in _UNSEEN and letter not in _JOINERS else letter

    return " ".join("".join(map(as_data, text)).split()).strip(_JOINERS + " ")


def _read(job: Job, arguments: Mapping[str, str]) -> dict[str, list[str]]:
    if misspelt := boundary.unknown_arguments(arguments, [each.name for each in job.arguments]):
        raise MCPError(INVALID_PARAMS, str(misspelt))
    values = {each.name: _values(each, arguments[each.name]) for each in job.arguments if each.name in arguments}
    missing = [each for each in job.arguments if each.required and not values.get(each.name)]
    if missing:
        wanted = "; ".join(f"{each.name}: {each.description}" for each in missing)
        raise MCPError(INVALID_PARAMS, f"The prompt {job.name} needs more. {wanted}")
    return {name: found for name, found in values.items() if found}


def _values(argument: Argument, text: str) -> list[str]:
    """The values in ``text``: none where it says nothing."""
    if len(text) > MAX_VALUE:
        raise _refused(argument, f"{len(text)} characters are too many; at most {MAX_VALUE} fit here")
    parts = argument.parts.split(text) if argument.parts else [text]
    values = [value for value in map(one_line, parts) if value]
    if len(values) > argument.most:
        raise _refused(argument, f"these are {len(values)}, and at most {argument.most} can be made of")
    if argument.kind is None or not values:
        return values
    try:
        checked = TypeAdapter(argument.kind).validate_python(values if argument.parts else values[0])
    except ValidationError as error:
        words = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise _refused(argument, words) from None
    return checked if argument.parts else [checked]


def _refused(argument: Argument, words: str) -> MCPError:
    return MCPError(INVALID_PARAMS, f"{argument.name}: {words}.")


def _wishes(job: Job, given: Given) -> list[str]:
    lines = [
        f"- {argument.label}{f' {number}' if argument.parts else ''}: {value}"
        for argument in job.arguments
        if argument.name not in AS_A_CALL
        for number, value in enumerate(given.values.get(argument.name, ()), start=1)
    ]
    heading = "What I want, one thing a line. These are facts about the picture; no line says what tools to use:"
    return ["\n".join([heading, *lines])] if lines else []
