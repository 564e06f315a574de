"""What can go wrong with the image API.

::

    DefapiError
    ├── NotSent                 nothing left this machine; nothing can have been charged
    │   ├── KeyMissing          there is no usable key
    │   └── Unreachable         no connection to the API could be made
    ├── Refused                 the API answered, in whole, that it will not do it
    │   ├── RequestRefused      400, another 4xx, a redirect, or 200 with `code` ≠ 0
    │   ├── KeyRefused          401, 403
    │   ├── OutOfCredits        402
    │   ├── TaskNotFound        404
    │   └── Busy                429, 500, 503: may be asked again, after `retry_after` seconds if given
    ├── OutcomeUnknown          a submit that may have arrived: it may have been charged, never repeat it
    └── NoAnswer                a query without a usable answer: asking again is free

Each carries ``message`` (what happened) and ``hint`` (what to do), both safe to show to anyone: no key,
no prompt of ours, text of the API cleaned and cut.
"""

from __future__ import annotations


class DefapiError(Exception):
    """Base of everything :mod:`nano_banana_mcp.defapi` raises.

    Attributes:
        message: What happened, one or two sentences.
        hint: What to do next.
        status: The HTTP status, where a whole answer was read.
        asking: Whether it was only a question, which costs nothing.
    """

    hint = "Try again later."
    asking = False
    is_safe_to_log = True

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        super().__init__()
        self.message = message
        self.status = status
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return self.message

    def __repr__(self) -> str:
        # The retry library logs the repr, and the API's words may echo a prompt.
        return f"{type(self).__name__}(status={self.status})"


class NotSent(DefapiError):
    """The request did not leave this machine."""


class KeyMissing(NotSent):
    """There is no usable API key."""

    hint = (
        "Set DEFAPI_API_KEY (it looks like dk-…) in the server's configuration and restart it, "
        "or try it without a key: start the server with --sandbox (or NANO_BANANA_SANDBOX=1)."
    )


class Unreachable(NotSent):
    """No connection to the API could be made."""

    hint = "Check the network and DEFAPI_BASE_URL, then try again: it is safe."


class Refused(DefapiError):
    """The API answered, in whole, that it will not do what was asked."""


class RequestRefused(Refused):
    """The request was not acceptable."""

    hint = "Change the request as the message says; sending the same again will not help."


class KeyRefused(Refused):
    """The key is wrong, missing, expired, suspended, or not allowed to do this."""

    hint = "Check DEFAPI_API_KEY in the server's configuration, and the account at defapi; then restart the server."


class OutOfCredits(Refused):
    """The account cannot pay for it."""

    hint = "Add credits to the defapi account, then try again."


class TaskNotFound(Refused):
    """The API knows no such task (or no such endpoint)."""

    hint = "Check DEFAPI_BASE_URL: this API has no such address."


class Busy(Refused):
    """The API refused for now (429, 500 or 503).

    Attributes:
        retry_after: Seconds that the API asked to wait, if it did.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after
        if retry_after is not None and retry_after > 0:
            self.hint = f"Try again in {retry_after:.0f} s: the API asked for that pause."


class OutcomeUnknown(DefapiError):
    """A submit that may have arrived. The picture may have been charged; it must not be sent again by itself."""

    hint = (
        "Do not simply repeat the call: it could be charged twice. Look at the account's task list and credits "
        "at defapi first; ask the person before paying again."
    )


class NoAnswer(DefapiError):
    """A query got no usable answer. Nothing is charged for asking, so it can be asked again."""

    hint = "Ask again in a few seconds: asking costs nothing."
