"""The common jobs: what each is called in menus, and what a person may fill in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from nano_banana_tools.arguments import MAX_REFERENCES
from nano_banana_tools.prompts import templates as advice
from nano_banana_tools.prompts.rendering import (
    ASPECT_RATIO,
    IMAGE_SIZE,
    MODEL,
    TASK_ID,
    Argument,
    Job,
    images,
    several,
    style,
)

MAX_SCENES = 8
MAX_LINES = 12

_YesOrNo = Annotated[Literal["yes", "no"], BeforeValidator(str.casefold)]

_FOR_PHOTOS = (
    "clean studio photograph on white",
    "editorial still life",
    "lifestyle photograph in daylight",
    "dark and moody, low key",
    "minimal, pastel background",
    "luxury advertisement",
)
_FOR_CHARACTERS = (
    "natural photograph",
    "children's book watercolour",
    "flat vector illustration",
    "anime",
    "3D animated film",
    "ink comic",
    "pixel art",
    "claymation",
)
_FOR_POSTERS = (
    "Swiss typographic",
    "screen print, three colours",
    "Art Deco",
    "Bauhaus",
    "vintage travel poster",
    "minimal with one large photograph",
    "psychedelic 1960s",
    "cut paper",
)
_KEEPS = (
    "the face and identity",
    "the background",
    "the words in the picture",
    "the colours",
    "the framing",
    "the light",
)
_DAMAGE = ("scratches and dust", "creases and tears", "faded colours", "yellowed", "water stains", "blur", "noise")

_ALL = (
    Job(
        "product_shot",
        "Product shot",
        "A product photograph for a shop or an advertisement, of a described product or of one in pictures.",
        (
            Argument("product", "Product", "What it is: shape, material, colours, label.", required=True),
            images("Pictures of the product."),
            Argument(
                "setting",
                "Setting",
                "Where it stands.",
                suggests=(
                    "seamless white",
                    "marble slab",
                    "warm wood table",
                    "beach at sunset",
                    "kitchen in the morning",
                ),
            ),
            style(*_FOR_PHOTOS),
            ASPECT_RATIO,
            MODEL,
        ),
        "Make a product photograph with the Nano Banana tools.",
        advice.product_shot,
    ),
    Job(
        "edit_picture",
        "Edit with references",
        "Change something in a picture, or combine pictures, and leave the rest as it is.",
        (
            images("The picture to edit, then those to take things from.", required=True),
            Argument("change", "Change", "What should be different.", required=True),
            Argument("keep", "Keep", "What must stay as it is.", suggests=_KEEPS),
            ASPECT_RATIO,
            MODEL,
        ),
        "Edit a picture with the Nano Banana tools.",
        advice.edit_picture,
    ),
    Job(
        "consistent_character",
        "Consistent character",
        "The same person or creature in several scenes. Each picture is charged, the first sheet too.",
        (
            Argument("character", "Character", "Who it is and how they look.", required=True),
            several("scenes", "Scene", f'Up to {MAX_SCENES} scenes, with " / " between.', MAX_SCENES, required=True),
            images("Pictures of the character.", MAX_REFERENCES - 1),
            TASK_ID,
            style(*_FOR_CHARACTERS),
            ASPECT_RATIO,
            MODEL,
        ),
        "Make pictures of one character who looks the same in each, with the Nano Banana tools.",
        advice.consistent_character,
    ),
    Job(
        "poster",
        "Poster with exact text",
        "A poster, cover or card on which the words are spelt as given.",
        (
            several(
                "text",
                "Line",
                f'The words, letter for letter, with " / " between lines; up to {MAX_LINES}.',
                MAX_LINES,
                required=True,
            ),
            Argument("subject", "Subject", "What it is for, and what is to be seen.", required=True),
            style(*_FOR_POSTERS),
            ASPECT_RATIO,
            IMAGE_SIZE,
            MODEL,
        ),
        "Make a poster with the Nano Banana tools, with exactly the words that I give.",
        advice.poster,
    ),
    Job(
        "restore_photo",
        "Restore a photo",
        "Repair an old or damaged photograph without changing who is in it.",
        (
            images("The photograph.", required=True),
            Argument("damage", "Damage", "What is wrong with it.", suggests=_DAMAGE),
            Argument(
                "colorize",
                "In colour",
                "yes: give it colours. Else it stays as it was.",
                suggests=("yes", "no"),
                kind=_YesOrNo,
            ),
            IMAGE_SIZE,
            MODEL,
        ),
        "Restore a photograph with the Nano Banana tools.",
        advice.restore_photo,
    ),
)

JOBS = {job.name: job for job in _ALL}
