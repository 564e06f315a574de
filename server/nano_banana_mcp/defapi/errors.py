"""Errors of the image API.

::

    DefapiError
    ├── NotSent                 nothing was sent; nothing can have been charged
    │   ├── KeyMissing          there is no usable key
    │   └── Unreachable         no connection to the API could be opened
    ├── Refused                 a complete answer of the API refused the request
    │   ├── RequestRefused      400, another 4xx, a redirect, or 200 with `code` ≠ 0
    │   ├── KeyRefused          401, 403
    │   ├── Blocked             403 of bot protection in front of the API: it says nothing about the key
    │   ├── ModelRefused        the API does not know the model
    │   ├── OutOfCredits        402
    │   ├── TaskNotFound        404
    │   └── Busy                429, 500, 503: may be asked again, after `retry_after` seconds if given
    ├── SubmitFailed            no attempt of a submit was accepted, at least one ended in 500 or 503
    ├── OutcomeUnknown          a submit that may have arrived: it may have been charged, never repeat it
    └── NoAnswer                a query without a usable answer: asking again is free

Each has a ``message`` (what happened) and a ``hint`` (what to do). Both are safe to show to any caller: they contain no
key and no prompt, and text of the API is cleaned and shortened.
"""

from __future__ import annotations


class DefapiError(Exception):
    """Base of all errors of :mod:`nano_banana_mcp.defapi`.

    Attributes:
        message: What happened, one or two sentences.
        hint: What to do next.
        status: The HTTP status of a complete answer, else None.
        is_query: Whether the request was a query, which is free.
        is_safe_to_log: The ``repr`` contains no text of the API or of a caller.
    """

    hint = "Try again later."
    is_query = False
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
        # The retry library logs the repr, and a message of the API may contain the prompt.
        return f"{type(self).__name__}(status={self.status})"


class NotSent(DefapiError):
    """The request was not sent."""


class KeyMissing(NotSent):
    """There is no usable API key."""

    hint = (
        "Set DEFAPI_API_KEY (dk-…) in the configuration of this server and restart it. "
        "To try it without a key, start the server with --sandbox (or NANO_BANANA_SANDBOX=1)."
    )


class Unreachable(NotSent):
    """No connection to the API could be opened."""

    hint = "Check the network and DEFAPI_BASE_URL, then try again."


class Refused(DefapiError):
    """A complete answer of the API refused the request."""


class RequestRefused(Refused):
    """The API does not accept this request."""

    hint = "Change the request as the message says. The same request would be refused again."


class KeyRefused(Refused):
    """The key is wrong, missing, expired, suspended or lacks a permission."""

    hint = (
        "Check DEFAPI_API_KEY in the configuration of this server, and the account at defapi. Then restart the server."
    )


class Blocked(Refused):
    """Bot protection or a proxy in front of the API refused the request, not the API."""

    hint = (
        "The API key is not the cause. Try again later or from another network. If it persists, ask defapi support to "
        "allow your IP address."
    )


class ModelRefused(RequestRefused):
    """The API does not know the model, or does not offer it any more."""

    hint = "Leave model out for the default, or name another model."


class OutOfCredits(Refused):
    """The account does not have enough credits."""

    hint = "Add credits to the defapi account, then try again."


class TaskNotFound(Refused):
    """The API has no such task or no such endpoint."""

    hint = "Check DEFAPI_BASE_URL: the API has no such address."


class Busy(Refused):
    """A temporary refusal (429, 500 or 503).

    Attributes:
        retry_after: Pause in seconds that the API asked for, or None.
    """

    def __init__(self, message: str, *, status: int, retry_after: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after = retry_after
        if retry_after is not None and retry_after > 0:
            self.hint = f"Try again in {retry_after:.0f} s: the API asked for this pause."


class SubmitFailed(DefapiError):
    """No attempt of a submit was accepted, and the API's servers failed at least once: they say nothing of charges."""

    hint = "Check the balance with get_account. Then try again later; the same request_id may be used again."


class OutcomeUnknown(DefapiError):
    """A submit that may have arrived. The image may have been charged, so the server never repeats the submit."""

    hint = (
        "Do not repeat the call at once: it could be charged twice. Check the task list and the credits of the "
        "account at defapi, and ask the user before you pay again."
    )


class NoAnswer(DefapiError):
    """A query without a usable answer. Queries are free, so it can be repeated."""

    hint = "Try again in a few seconds: a query is free."
    is_query = True
