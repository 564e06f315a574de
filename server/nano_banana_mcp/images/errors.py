"""Errors of images.

::

    ImageError
    ├── BadDataUri          the text is not a base64 data URI
    ├── AddressRefused      the server never connects there; nothing was sent
    ├── ImageUnavailable    the host did not return it: status, timeout, connection
    ├── NotAnImage          the bytes are not an image of a supported format
    └── ImageTooLarge       too many bytes or too many pixels

Each has a ``message`` (what happened) and a ``hint`` (what to do); ``str()`` is both. All are safe to show to any
caller: of an address they contain the host alone, because paths and queries may contain signatures.
"""

from __future__ import annotations


class ImageError(Exception):
    """Base of everything :mod:`nano_banana_mcp.images` raises.

    Attributes:
        message: What happened, one sentence.
        hint: What to do next.
    """

    hint = "Use another picture."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}"


class BadDataUri(ImageError):
    """The text is not a base64 data URI."""

    hint = "It has to look like data:image/png;base64,iVBORw0…"


class AddressRefused(ImageError):
    """The server never connects to this address."""

    hint = "Use the https:// URL of a picture on a public host."


class ImageUnavailable(ImageError):
    """The host did not return the image.

    Attributes:
        status: The HTTP status; None if no answer was read.
    """

    hint = "Try again in a moment, or use another URL."

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotAnImage(ImageError):
    """The bytes are not an image of a supported format."""

    hint = "PNG, JPEG, WebP, GIF, AVIF and BMP are supported. A URL must lead to the image itself, not to a page."


class ImageTooLarge(ImageError):
    """Too many bytes, or too many pixels."""

    hint = "Use a smaller picture."
