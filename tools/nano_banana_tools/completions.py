"""Completions for the arguments of prompts and resource templates: constants, and the caller's own generations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, CompleteRequestParams, Completion, CompletionArgument, PromptReference

from nano_banana_mcp.defapi.schemas import RETIRED_MODELS
from nano_banana_mcp.generations.batches import located_images
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_tools.arguments import ASPECT_RATIOS, IMAGE_SIZES
from nano_banana_tools.prompts.catalog import PROMPTS
from nano_banana_tools.prompts.rendering import MAX_VALUE_CHARACTERS, find_prompt
from nano_banana_tools.resources import TEMPLATES
from nano_banana_tools.results import resource_uri

MAX_VALUES = 100
"""Values in one answer; the protocol's limit."""

MAX_SEARCHED_GENERATIONS = 250
"""The caller's newest generations that are searched for completions."""

MODELS = (
    "google/gempix2",
    "google/nano-banana-2",
    "google/nano-banana-pro",
    "google/nano-banana",
)
"""Models of the API that are not retired; it may have others."""

_FROM_LEDGER = frozenset({"model", "task_id", "images"})
_CONSTANTS: Mapping[str, tuple[str, ...]] = {"aspect_ratio": ASPECT_RATIOS, "image_size": IMAGE_SIZES}
_TEMPLATE_URIS = {template.uri_template for template in TEMPLATES}


async def complete(service: GenerationService, request: CompleteRequestParams, principal: str) -> Completion:
    """The completions of one argument; empty if there are none.

    Raises:
        MCPError: there is no such prompt or template.
        LedgerError: the ledger cannot be read now.
        LimitReached: the caller exceeds their rate limit.
    """
    if len(request.argument.value) > MAX_VALUE_CHARACTERS:
        return _answer(())
    if isinstance(request.ref, PromptReference):
        return await _for_prompt(service, request.ref.name, request.argument, principal)
    filled_in = request.context.arguments if request.context else None
    return await _for_template(service, request.ref.uri, request.argument, filled_in or {}, principal)


async def _for_template(
    service: GenerationService,
    template: str,
    argument: CompletionArgument,
    filled_in: Mapping[str, str],
    principal: str,
) -> Completion:
    if template not in _TEMPLATE_URIS:
        raise MCPError(INVALID_PARAMS, f"There is no such template. Templates: {', '.join(sorted(_TEMPLATE_URIS))}.")
    prefix = argument.value.strip()
    if argument.name == "n" and "{n}" in template:
        return _answer(_starting(prefix, await _numbers(service, filled_in.get("task_id", ""), principal)))
    if argument.name != "task_id":
        return _answer(())
    generations, has_more = await _own_generations(service, principal)
    return _answer(_starting(prefix, (generation.public_id for generation in generations)), has_more=has_more)


async def _for_prompt(
    service: GenerationService, prompt: str, argument: CompletionArgument, principal: str
) -> Completion:
    name, prefix = argument.name, argument.value.strip()
    arguments = {argument.name: argument for argument in find_prompt(PROMPTS, prompt).arguments}
    if name not in arguments:
        return _answer(())
    if name not in _FROM_LEDGER:
        return _answer(_matching(prefix, _CONSTANTS.get(name, arguments[name].suggestions)))
    generations, has_more = await _own_generations(service, principal)
    if name == "model":
        return _answer(_matching(prefix, _models(service.default_model, generations)))
    if name == "images":
        return _answer(_images(prefix, generations), has_more=has_more)
    return _answer(
        _starting(prefix, (generation.public_id for generation in generations if generation.images)), has_more=has_more
    )


def _models(default: str, generations: Iterable[Generation]) -> list[str]:
    """Models to suggest: those that succeeded, the most frequent first, then the default and the others."""
    succeeded = Counter(item.model for item in generations if item.model and item.status is Status.SUCCESS)
    ranked = [model for model, _ in succeeded.most_common()]
    return [model for model in (*ranked, default, *MODELS) if model not in RETIRED_MODELS]


async def _own_generations(service: GenerationService, principal: str) -> tuple[list[Generation], bool]:
    """The caller's newest generations, and whether there may be more."""
    service.callers.quotas.count_call(principal)
    generations = await service.ledger.recent(MAX_SEARCHED_GENERATIONS, principal)
    return generations, len(generations) == MAX_SEARCHED_GENERATIONS


async def _numbers(service: GenerationService, task_id: str, principal: str) -> list[str]:
    """The numbers of the images of this task, if it is the caller's own."""
    service.callers.quotas.count_call(principal)
    item = await service.refresher.find_recorded(task_id, principal)
    return [] if item is None else [str(number) for number in range(len(located_images(item)))]


def _images(prefix: str, generations: Iterable[Generation]) -> list[str]:
    """Completions of a list of references: its last item is completed, and the others stay before it."""
    before, comma, last = prefix.rpartition(",")
    taken = {part.strip() for part in before.split(",")}
    before = f"{before}{comma} " if comma else ""
    return [
        before + uri
        for generation in generations
        for uri in (resource_uri(generation.public_id, number) for number in range(len(generation.images)))
        if uri not in taken and (uri.startswith(last.strip()) or generation.public_id.startswith(last.strip()))
    ]


def _starting(prefix: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(prefix)]


def _matching(prefix: str, values: Iterable[str]) -> list[str]:
    """The distinct values with a word that begins like ``prefix``; a slash begins a word, too (model names)."""
    sought = prefix.casefold()

    def matches(value: str) -> bool:
        text = value.casefold()
        return text.startswith(sought) or f" {sought}" in text or f"/{sought}" in text

    return [value for value in dict.fromkeys(values) if matches(value)]


def _answer(values: Iterable[str], *, has_more: bool = False) -> Completion:
    """The answer, cut to the protocol's limit.

    Args:
        has_more: Whether there may be further values that were not searched.
    """
    completions = list(values)
    return Completion(
        values=completions[:MAX_VALUES],
        total=None if has_more else len(completions),
        has_more=has_more or len(completions) > MAX_VALUES,
    )
