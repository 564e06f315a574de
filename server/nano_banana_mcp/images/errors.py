"""Why there is no picture.

::

    ImageError
    ├── BadDataUri            the text is not a base64 data URI
    ├── AddressRefused        this server never connects there; nothing was sent
    ├── ImageUnavailable    the host did not hand it over: status, time, connection
    ├── NotAnImage           bytes arrived, but not those of a picture that is known here
    └── ImageTooLarge       too many bytes, or too many pixels

Each carries ``message`` (what happened) and ``hint`` (what to do); ``str()`` is both. All are safe to show to
anyone: of an address they name the host alone, because paths and queries carry signatures.
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
    """This server never connects there."""

    hint = "Use the https:// URL of a picture on a public host."


class ImageUnavailable(ImageError):
    """The host did not hand the picture over.

    Attributes:
        status: The HTTP status, where an answer was read.
    """

    hint = "Try again in a moment, or use another URL."

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status


class NotAnImage(ImageError):
    """Bytes arrived, but not those of a picture that is known here."""

    hint = "PNG, JPEG, WebP, GIF, AVIF and BMP are known; a URL has to lead to the picture itself, not to its page."


class ImageTooLarge(ImageError):
    """Too many bytes, or too many pixels."""

    hint = "Use a smaller picture."
