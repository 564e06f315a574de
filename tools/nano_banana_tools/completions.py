"""What is offered while somebody fills in a prompt or a resource's URI: only what is public, or the caller's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CompleteRequestParams, Completion, CompletionArgument, PromptReference

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_tools.prompts.catalog import JOBS
from nano_banana_tools.prompts.rendering import MAX_VALUE, find
from nano_banana_tools.resources import TEMPLATES
from nano_banana_tools.results import resource_uri

MAX_VALUES = 100
"""As many as the protocol allows in one answer."""

MAX_LOOKED_AT = 250
"""The newest generations of the caller that are looked through."""

MODELS = (
    "google/gempix2",
    "google/nano-banana-2",
    "google/nano-banana-pro",
    "google/nano-banana",
    "google/gemini-3.1-flash-image-preview",
    "google/gemini-2.5-flash-image",
)
"""Those that are known; the API may have others."""

ASPECT_RATIOS = ("1:1", "16:9", "21:9", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "auto")
IMAGE_SIZES = ("1k", "2k", "4k")

_LOOKED_UP = frozenset({"model", "task_id", "images"})
_FIXED: Mapping[str, tuple[str, ...]] = {"aspect_ratio": ASPECT_RATIOS, "image_size": IMAGE_SIZES}
_TEMPLATES = {template.uri_template for template in TEMPLATES}


async def complete(service: GenerationService, asked: CompleteRequestParams, principal: str) -> Completion:
    """What the argument that is being filled in may become; nothing where nothing can be offered.

    Raises:
        MCPError: there is no such prompt or template.
        LedgerError: nobody can tell now.
        LimitReached: the caller asks too often for what has to be looked up.
    """
    if len(asked.argument.value) > MAX_VALUE:
        return _answer(())
    if isinstance(asked.ref, PromptReference):
        return await _for_prompt(service, asked.ref.name, asked.argument, principal)
    filled_in = asked.context.arguments if asked.context else None
    return await _for_template(service, asked.ref.uri, asked.argument, filled_in or {}, principal)


async def _for_template(
    service: GenerationService,
    template: str,
    argument: CompletionArgument,
    filled_in: Mapping[str, str],
    principal: str,
) -> Completion:
    if template not in _TEMPLATES:
        raise MCPError(INVALID_PARAMS, f"There is no such template. There are: {', '.join(sorted(_TEMPLATES))}.")
    begun = argument.value.strip()
    if argument.name == "n" and "{n}" in template:
        return _answer(_starting(begun, await _numbers(service, filled_in.get("task_id", ""), principal)))
    if argument.name != "task_id":
        return _answer(())
    mine, more = await _mine(service, principal)
    return _answer(_starting(begun, (known.public_id for known in mine)), more=more)


async def _for_prompt(
    service: GenerationService, prompt: str, argument: CompletionArgument, principal: str
) -> Completion:
    name, begun = argument.name, argument.value.strip()
    taken = {each.name: each for each in find(JOBS, prompt).arguments}
    if name not in taken:
        return _answer(())
    if name not in _LOOKED_UP:
        return _answer(_matching(begun, _FIXED.get(name, taken[name].suggests)))
    mine, more = await _mine(service, principal)
    if name == "model":
        used = [known.model for known in mine if known.model]
        return _answer(_matching(begun, [service.default_model, *used, *MODELS]))
    if name == "images":
        return _answer(_images(begun, mine), more=more)
    return _answer(_starting(begun, (known.public_id for known in mine if known.images)), more=more)


async def _mine(service: GenerationService, principal: str) -> tuple[list[Generation], bool]:
    """The caller's own newest generations, and whether there may be more."""
    service.accounts.quotas.count_call(principal)
    mine = await service.ledger.recent(MAX_LOOKED_AT, principal)
    return mine, len(mine) == MAX_LOOKED_AT


async def _numbers(service: GenerationService, task_id: str, principal: str) -> list[str]:
    """The numbers of the pictures of this task, if it is the caller's own."""
    service.accounts.quotas.count_call(principal)
    known = await service.ledger.find(task_id)
    if known is None or known.principal != principal:
        return []
    return [str(number) for number in range(len(known.images))]


def _images(begun: str, mine: Iterable[Generation]) -> list[str]:
    """References: the last of a list is the one that is being filled in, and the others stay before it."""
    before, comma, last = begun.rpartition(",")
    taken = {part.strip() for part in before.split(",")}
    before = f"{before}{comma} " if comma else ""
    return [
        before + uri
        for known in mine
        for uri in (resource_uri(known.public_id, number) for number in range(len(known.images)))
        if uri not in taken and (uri.startswith(last.strip()) or known.public_id.startswith(last.strip()))
    ]


def _starting(begun: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(begun)]


def _matching(begun: str, values: Iterable[str]) -> list[str]:
    """Those with a word that starts like this, each once; in a model's name a word starts after the slash, too."""
    sought = begun.casefold()

    def matches(value: str) -> bool:
        text = value.casefold()
        return text.startswith(sought) or f" {sought}" in text or f"/{sought}" in text

    return [value for value in dict.fromkeys(values) if matches(value)]


def _answer(values: Iterable[str], *, more: bool = False) -> Completion:
    """At most so many as the protocol allows. ``more``: there may be others that were not looked at."""
    found = list(values)
    return Completion(
        values=found[:MAX_VALUES],
        total=None if more else len(found),
        has_more=more or len(found) > MAX_VALUES,
    )
