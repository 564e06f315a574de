"""Reads the body of a submit as the API does."""

import json
from typing import Any

from nano_banana_sandbox.faults import DirectiveError, Directives, parse
from nano_banana_sandbox.tasks import Order, shortened

ASPECT_RATIOS = (
    "1:1", "16:9", "21:9", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "auto", "1:4", "4:1", "1:8", "8:1",
)  # fmt: skip
IMAGE_SIZES = ("512", "0.5k", "1k", "2k", "4k")
MAX_IMAGES = 4


class BadOrderError(ValueError):
    """The order is refused; the message is the `detail` of the answer."""


def read_order(body: bytes, defaults: Directives) -> Order:
    """Check a submit's body.

    Raises:
        BadOrderError: the API would answer 400.
    """
    try:
        request = json.loads(body)
    except (ValueError, RecursionError):
        raise BadOrderError("malformed JSON") from None
    if not isinstance(request, dict):
        raise BadOrderError("the body must be a JSON object")
    prompt = _required(request, "prompt")
    _required(request, "model")
    images = _images(request)
    aspect_ratio = _chosen(request, "aspect_ratio", ASPECT_RATIOS)
    image_size = _chosen(request, "image_size", IMAGE_SIZES)
    callback_url = request.get("callback_url")
    if not (callback_url is None or isinstance(callback_url, str)):
        raise BadOrderError("callback_url must be a string")
    # Other models ignore them silently, as far as is known of the API.
    model = request["model"]
    if not model.startswith("google/nano-banana"):
        aspect_ratio = None
    if model not in ("google/nano-banana-pro", "google/nano-banana-2"):
        image_size = None
    try:
        words, directives = parse(prompt, defaults)
    except DirectiveError as error:
        raise BadOrderError(str(error)) from None
    return Order(
        prompt=prompt,
        words=words,
        directives=directives,
        request=shortened(request),
        images=len(images),
        aspect_ratio="1:1" if aspect_ratio in (None, "auto") else aspect_ratio,
        image_size=image_size or "1k",
        callback_url=callback_url or None,
    )


def _required(request: dict[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str) or not value.strip():
        raise BadOrderError(f"{name} is required")
    return value


def _images(request: dict[str, Any]) -> list[str]:
    images = request.get("images")
    if images is None:
        return []
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        raise BadOrderError("images must be a list of strings")
    if len(images) > MAX_IMAGES:
        raise BadOrderError(f"at most {MAX_IMAGES} images are allowed")
    return images


def _chosen(request: dict[str, Any], name: str, values: tuple[str, ...]) -> str | None:
    value = request.get(name)
    if value is None:
        return None
    if value not in values:
        raise BadOrderError(f"{name} must be one of {', '.join(values)}")
    return str(value)
