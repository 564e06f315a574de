"""What the assistant is to call, step by step, so that each picture is paid for once and seen by somebody."""

from __future__ import annotations

import json

from nano_banana_tools.prompts.filling import Given

TAKES_FORMATS = "google/nano-banana"
TAKES_SIZES = ("google/nano-banana-pro", "google/nano-banana-2")


def steps(given: Given, *, ratio: str | None, check: str, each: str | None = None) -> list[str]:
    """What to call: generate_image once (for ``each``), wait, look, show."""
    arguments = ["prompt: what you wrote"]
    task_id = given.get("task_id")
    references = [*([f"nanobanana://tasks/{task_id}/images/0"] if task_id else ()), *given.values.get("images", ())]
    if references:
        arguments.append(f"images: {json.dumps(references, ensure_ascii=False)}")
    elif each:
        arguments.append("images: a list with the resource_uri of the sheet (for the sheet itself: none)")
    if model := given.get("model"):
        arguments.append(f"model: {json.dumps(model, ensure_ascii=False)}")
    notes = [*_format(given, given.get("aspect_ratio") or ratio, arguments), *_size(given, arguments)]
    once = f"once for each {each}; start all of them first" if each else "once"
    waits = f"Call wait_for_image with {'each' if each else 'the'} task_id."
    return [
        "Then:",
        f"1. Call generate_image {once}, with",
        *(f"   - {argument}" for argument in arguments),
        *(f"   {note}" for note in notes),
        f"2. {waits} If its time runs out, call it again with the same task_id. Never call generate_image again "
        "because it was slow or an answer got lost: every call spends credits.",
        f"3. Look at the result with view_image (free), and check {check}. If it is not right, say so and ask me "
        "before you make another.",
        "4. Show me the URL.",
    ]


def _format(given: Given, ratio: str | None, arguments: list[str]) -> list[str]:
    if ratio is None:
        return ["Leave aspect_ratio out: the picture keeps its own format."]
    if not given.model.startswith(TAKES_FORMATS):
        words = "in the format that suits it" if ratio == "auto" else f"in {ratio} format"
        return [
            f"and say the format in the prompt, in words (“{words}”). Leave aspect_ratio out: {given.model} "
            "is not known to heed it."
        ]
    arguments.append(f'aspect_ratio: "{ratio}"')
    return []


def _size(given: Given, arguments: list[str]) -> list[str]:
    size = given.get("image_size")
    if size is None:
        return []
    if given.model in TAKES_SIZES:
        arguments.append(f'image_size: "{size}"')
        return []
    return [
        f"Leave image_size out, and tell me that {' and '.join(TAKES_SIZES)} are the models known to make {size}; "
        f"{given.model} is not."
    ]
