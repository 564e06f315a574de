"""How to write for this kind of image model (Gemini's, called Nano Banana): one function for each prompt."""

from __future__ import annotations

import json

from nano_banana_tools.prompts.rendering import Values

FORMAT_MODELS_PREFIX = "google/nano-banana"
SIZE_MODELS = ("google/nano-banana-pro", "google/nano-banana-2")


def steps(values: Values, *, ratio: str | None, check: str, subject: str | None = None) -> list[str]:
    """The calls: generate_image once (for each ``subject``), wait, view, show."""
    arguments = ["prompt: what you wrote"]
    task_id = values.get("task_id")
    references = [*([f"nanobanana://tasks/{task_id}/images/0"] if task_id else ()), *values.values.get("images", ())]
    if references:
        arguments.append(f"images: {json.dumps(references, ensure_ascii=False)}")
    elif subject:
        arguments.append("images: a list with the resource_uri of the sheet (for the sheet itself: none)")
    if model := values.get("model"):
        arguments.append(f"model: {json.dumps(model, ensure_ascii=False)}")
    notes = [*_format(values, values.get("aspect_ratio") or ratio, arguments), *_size(values, arguments)]
    once = f"once for each {subject}; start all of them first" if subject else "once"
    waits = (
        f"Unless the call runs as a background task, call wait_for_image with {'each' if subject else 'the'} task_id."
    )
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


def _format(values: Values, ratio: str | None, arguments: list[str]) -> list[str]:
    if ratio is None:
        return ["Leave aspect_ratio out: the picture keeps its own format."]
    if not values.model.startswith(FORMAT_MODELS_PREFIX):
        words = "in the format that suits it" if ratio == "auto" else f"in {ratio} format"
        return [
            f"and say the format in the prompt, in words (“{words}”). Leave aspect_ratio out: {values.model} "
            "is not known to support it."
        ]
    arguments.append(f'aspect_ratio: "{ratio}"')
    return []


def _size(values: Values, arguments: list[str]) -> list[str]:
    size = values.get("image_size")
    if size is None:
        return []
    if values.model in SIZE_MODELS:
        arguments.append(f'image_size: "{size}"')
        return []
    return [
        f"Leave image_size out, and say that {' and '.join(SIZE_MODELS)} are the models known to make {size}; "
        f"{values.model} is not."
    ]


_GAPS = "Where I said nothing, choose what suits and say in one line what you chose; ask only if you cannot begin."


def product_shot(values: Values) -> str:
    product = (
        "The product: exactly the one in the reference pictures. Say so, and name what must stay: shape, proportions, "
        "colours, material, logo and the words on the label. Only surroundings, light and angle are new."
        if "images" in values
        else "The product: shape, material, colour, finish, size beside familiar things. Words on it go in double "
        "quotes, letter for letter."
    )
    return "\n".join(
        [
            "Write one prompt of 60 to 120 words, in whole sentences as a photographer would brief a studio, not as a "
            "list of keywords. In this order:",
            "- The shot: what kind of photograph and what for, the angle (three-quarter, straight on, from above), how "
            "much of the frame the product fills, and where empty space is left.",
            f"- {product}",
            "- The setting: surface, background, at most two or three props, none in front of the product.",
            "- The light: a real set-up (a large softbox from the left, a rim light from behind, a gentle reflection "
            "below), and where the shadows fall.",
            "- The lens: focal length and aperture that keep the whole product sharp (85 mm at f/8; macro "
            "for a detail).",
            "- Style and mood, last. Say what is there rather than what is not: “a bare, even background”, not “no "
            "clutter”.",
            _GAPS,
            "",
            *steps(values, ratio="1:1", check="that shape, colours and label are right"),
        ]
    )


def edit_picture(values: Values) -> str:
    return "\n".join(
        [
            "Write the prompt as an instruction of 30 to 80 words. Do not describe the whole picture anew: what "
            "is described is drawn again.",
            "- The change: one sentence for each, with a verb first (“Replace the …”, “Move …”, “Make it …”), and "
            "where in the picture it is.",
            "- With several pictures, say which is which by their order: “the first picture”, “the jacket of the "
            "second picture”. The first is the one that is edited.",
            "- What must not change, by name: what I want kept, and the face and identity of everybody in it, pose, "
            "hands, framing, camera angle, and words in the picture. Then: “Keep everything else exactly the same.”",
            "- The fit: same direction of light, perspective, sharpness and grain as around it, with its shadow and "
            "reflection.",
            "- New words in the picture go in double quotes, letter for letter.",
            "",
            *steps(values, ratio=None, check="that the change is there, and that nothing else has changed"),
        ]
    )


def edit_marked_image(values: Values) -> str:
    has_original = len(values.values["images"]) > 1
    which = (
        "The first picture is the original, which is edited. The second is the same picture with my marks: it only "
        "shows where. Say both in the prompt."
        if has_original
        else "I have only the copy with the marks. Say in the prompt that the marks are not part of the picture, and "
        "that what is under them is to be filled in."
    )
    change = (
        "what I want changed"
        if "change" in values
        else "what the marks and the words beside them ask for; if that is not clear, ask me"
    )
    return "\n".join(
        [
            "Look at the pictures first if you can: lines, arrows, boxes and words in a strong colour are the marks.",
            "Write the prompt as an instruction of 40 to 90 words. Do not describe the whole picture anew: what is "
            "described is drawn again.",
            f"- {which}",
            f"- The change: {change}, one sentence for each mark, with a verb first, and what is at the place in words "
            "(“the lamp on the left, inside the red box”).",
            "- Then: “Apply the change only where it is marked. Keep everything else exactly the same. Leave no mark, "
            "line, arrow, box or written note in the result.”",
            "- The fit: same direction of light, perspective, sharpness and grain as around it.",
            "",
            *steps(
                values,
                ratio=None,
                check="that the change is where it was marked, that no mark is left, and that nothing else has changed",
            ),
        ]
    )


def consistent_character(values: Values) -> str:
    has_reference = "images" in values or "task_id" in values
    sheet = (
        "The reference shows who it is already; no sheet is needed."
        if has_reference
        else "There is no reference yet, so begin with a sheet: one picture of the character alone, from head to foot, "
        "seen from the front and in three-quarter view, neutral pose, even light, plain background. Make it as below, "
        "show it to me, and go on when I like it; it is charged like the others."
    )
    reference = "those references" if has_reference else "the resource_uri of the sheet"
    return "\n".join(
        [
            "First write the character down once, in 30 to 60 words: age, build, face, hair, eyes, skin, clothes with "
            "their colours, and one distinctive mark. Repeat these words unchanged in every prompt, and the "
            "same words for the style.",
            sheet,
            "Then one prompt of 50 to 100 words for each scene:",
            "- Begin: “The same character as in the reference picture. Keep the face, the identity, hair, proportions "
            "and clothes exactly.” Then the words that you wrote down.",
            "- What they do: action, pose, expression, where they look.",
            "- Where: place, time of day, light and where it comes from.",
            "- The shot: close-up, half or full figure, height of the camera, lens (35 mm for a place, 85 mm for a "
            "face).",
            f"In every scene images is {reference}, never a scene made before: from copy to copy the face drifts.",
            _GAPS,
            "",
            *steps(values, ratio="4:5", check="that it is the same face and the same clothes in each", subject="scene"),
        ]
    )


def poster(values: Values) -> str:
    return "\n".join(
        [
            "Write one prompt of 80 to 150 words, in whole sentences:",
            "- What it is and what for (“A screen-printed concert poster for …”), and the main picture on it.",
            "- Each of my lines in double quotes, letter for letter: same capitals, accents, figures and marks, in its "
            "own script, not translated. Say of each where it stands, how large it is beside the others, and in what "
            "lettering, described (“bold condensed sans-serif”, “hand-painted script”) rather than by a font's name.",
            "- Then: “These are the only words in the picture; there is no other lettering, logo or signature.”",
            "- The layout: which third holds what, quiet ground behind the words, margins, strong contrast between "
            "words and ground.",
            "- Two or three colours, and the style: technique, paper, texture.",
            _GAPS,
            "",
            *steps(
                values,
                ratio="2:3",
                check="every word letter by letter. If one is wrong, offer to correct this very picture: its "
                "resource_uri in images, and as the prompt “Replace the text "
                '"…" with "…"; keep everything else exactly the same”',
            ),
        ]
    )


def restore_photo(values: Values) -> str:
    colour = (
        "- Colour: give it natural, slightly muted colours that fit its time and place; skin with its real variation; "
        "where the colour cannot be known, a plain one."
        if values.get("colorize") == "yes"
        else "- Colour: keep it as it was taken. Black and white or sepia stays so; of a colour photograph, only take "
        "away the cast and the fading."
    )
    return "\n".join(
        [
            "Write the prompt as an instruction of 60 to 110 words:",
            "- Begin: “Restore this photograph.” Then the damage, kind by kind and where it is: scratches, dust, "
            "stains, creases, tears, fading, blur. Look at the picture first if you can.",
            "- What must not change: “Keep the face and identity of every person exactly: features, expression, age, "
            "wrinkles, hair, glasses, teeth. Keep hands, clothes, pose, background, framing and crop.”",
            "- No beauty: no smoothed skin, no new details, no sharper face than the photograph holds. What is missing "
            "is filled quietly from what is around it. The grain and the look of its time stay.",
            colour,
            "- Words in the picture stay letter for letter, and an unreadable one stays unreadable.",
            "",
            *steps(values, ratio=None, check="each face beside the original; list anything that was made up"),
        ]
    )
