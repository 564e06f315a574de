"""The prompts: their names in menus, and the arguments that a person can fill in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

from nano_banana_tools.arguments import MAX_REFERENCES
from nano_banana_tools.prompts import templates
from nano_banana_tools.prompts.rendering import (
    ASPECT_RATIO,
    IMAGE_SIZE,
    MODEL,
    TASK_ID,
    Argument,
    PromptDefinition,
    images_argument,
    list_argument,
    style_argument,
)

MAX_SCENES = 8
MAX_LINES = 12

_YesOrNo = Annotated[Literal["yes", "no"], BeforeValidator(str.casefold)]

_PHOTO_STYLES = (
    "clean studio photograph on white",
    "editorial still life",
    "lifestyle photograph in daylight",
    "dark and moody, low key",
    "minimal, pastel background",
    "luxury advertisement",
)
_CHARACTER_STYLES = (
    "natural photograph",
    "children's book watercolour",
    "flat vector illustration",
    "anime",
    "3D animated film",
    "ink comic",
    "pixel art",
    "claymation",
)
_POSTER_STYLES = (
    "Swiss typographic",
    "screen print, three colours",
    "Art Deco",
    "Bauhaus",
    "vintage travel poster",
    "minimal with one large photograph",
    "psychedelic 1960s",
    "cut paper",
)
_KEPT_PARTS = (
    "the face and identity",
    "the background",
    "the words in the picture",
    "the colours",
    "the framing",
    "the light",
)
_DAMAGE_KINDS = (
    "scratches and dust",
    "creases and tears",
    "faded colours",
    "yellowed",
    "water stains",
    "blur",
    "noise",
)

_ALL = (
    PromptDefinition(
        "product_shot",
        "Product shot",
        "A product photograph for a shop or an advertisement, of a described product or of one in pictures.",
        (
            Argument("product", "Product", "What it is: shape, material, colours, label.", required=True),
            images_argument("Pictures of the product."),
            Argument(
                "setting",
                "Setting",
                "Where it stands.",
                suggestions=(
                    "seamless white",
                    "marble slab",
                    "warm wood table",
                    "beach at sunset",
                    "kitchen in the morning",
                ),
            ),
            style_argument(*_PHOTO_STYLES),
            ASPECT_RATIO,
            MODEL,
        ),
        "Make a product photograph with the Nano Banana tools.",
        templates.product_shot,
    ),
    PromptDefinition(
        "edit_picture",
        "Edit with references",
        "Change something in a picture, or combine pictures, and leave the rest unchanged.",
        (
            images_argument("The picture to edit, then those to take things from.", required=True),
            Argument("change", "Change", "What should be different.", required=True),
            Argument("keep", "Keep", "What must not change.", suggestions=_KEPT_PARTS),
            ASPECT_RATIO,
            MODEL,
        ),
        "Edit a picture with the Nano Banana tools.",
        templates.edit_picture,
    ),
    PromptDefinition(
        "edit_marked_image",
        "Edit where it is marked",
        "Change a picture where marks are drawn on a copy of it, and leave no mark in the result.",
        (
            images_argument(
                "The picture, its copy with the marks, then those to take things from.",
                required=True,
            ),
            Argument("change", "Change", "What should be different where it is marked."),
            ASPECT_RATIO,
            MODEL,
        ),
        "Edit a picture where I marked it, with the Nano Banana tools.",
        templates.edit_marked_image,
    ),
    PromptDefinition(
        "consistent_character",
        "Consistent character",
        "The same person or creature in several scenes. Each picture is charged, the first sheet too.",
        (
            Argument("character", "Character", "Who it is and how they look.", required=True),
            list_argument(
                "scenes", "Scene", f'Up to {MAX_SCENES} scenes, with " / " between.', MAX_SCENES, required=True
            ),
            images_argument("Pictures of the character.", MAX_REFERENCES - 1),
            TASK_ID,
            style_argument(*_CHARACTER_STYLES),
            ASPECT_RATIO,
            MODEL,
        ),
        "Make pictures of one character who looks the same in each, with the Nano Banana tools.",
        templates.consistent_character,
    ),
    PromptDefinition(
        "poster",
        "Poster with exact text",
        "A poster, cover or card on which the words are spelt as given.",
        (
            list_argument(
                "text",
                "Line",
                f'The words, letter for letter, with " / " between lines; up to {MAX_LINES}.',
                MAX_LINES,
                required=True,
            ),
            Argument("subject", "Subject", "What it is for, and what is to be seen.", required=True),
            style_argument(*_POSTER_STYLES),
            ASPECT_RATIO,
            IMAGE_SIZE,
            MODEL,
        ),
        "Make a poster with the Nano Banana tools, with exactly the words that I give.",
        templates.poster,
    ),
    PromptDefinition(
        "restore_photo",
        "Restore a photo",
        "Repair an old or damaged photograph without changing who is in it.",
        (
            images_argument("The photograph.", required=True),
            Argument("damage", "Damage", "What is wrong with it.", suggestions=_DAMAGE_KINDS),
            Argument(
                "colorize",
                "In colour",
                "yes: give it colours. Else it stays as it was.",
                suggestions=("yes", "no"),
                kind=_YesOrNo,
            ),
            IMAGE_SIZE,
            MODEL,
        ),
        "Restore a photograph with the Nano Banana tools.",
        templates.restore_photo,
    ),
)

PROMPTS = {prompt.name: prompt for prompt in _ALL}
