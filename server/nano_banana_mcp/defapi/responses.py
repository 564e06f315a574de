"""What a whole answer of the API means. Pure: an :class:`Answer` in, a value or an error out."""

from __future__ import annotations

import email.utils
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from nano_banana_mcp.defapi import schemas as wire
from nano_banana_mcp.defapi.errors import (
    Busy,
    DefapiError,
    KeyRefused,
    NoAnswer,
    OutcomeUnknown,
    OutOfCredits,
    RequestRefused,
    TaskNotFound,
)

MAY_HAVE_BEEN_CHARGED = "The picture may have been charged."

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE_TASK_ID = re.compile(rb'"task_id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
_REFUSING_FOR_NOW = frozenset({429, 500, 503})


_MEANING: dict[int, tuple[type[DefapiError], str]] = {
    401: (KeyRefused, "The image API refused the API key"),
    402: (OutOfCredits, "The account has not enough credits"),
    403: (KeyRefused, "The image API does not allow this with the key in use"),
    404: (TaskNotFound, "The image API knows no such task or address"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes
    retry_after: str | None = None

    @property
    def successful(self) -> bool:
        """Whether the status is one of success (200-299)."""
        return 200 <= self.status < 300

    @property
    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object, or None where it is anything else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def read_submit(answer: Answer) -> str:
    """The task id in the answer to a submit.

    Raises:
        Refused: the API will not draw it; nothing was charged, as far as the API says.
        OutcomeUnknown: the answer does not tell whether a task was made.
    """
    # Whatever else it says: a task that has an id was made, and another submit would pay twice.
    if task_id := task_id_in_fragment(answer.body):
        return task_id
    body = answer.json
    if answer.successful and (body is None or not wire.failure_code(body)):
        raise OutcomeUnknown(
            f"The image API took the request but its answer holds no task id. {MAY_HAVE_BEEN_CHARGED}",
            status=answer.status,
        )
    if answer.successful or _is_refusal(answer.status):
        raise _refusal(answer, body)
    raise OutcomeUnknown(
        f"The image API's gateway answered {_named(answer.status)}, so it is not known whether the request "
        f"arrived. {MAY_HAVE_BEEN_CHARGED}",
        status=answer.status,
    )


def read_query(answer: Answer) -> wire.TaskSnapshot:
    """The state in the answer to a query.

    Raises:
        Refused: as :func:`read_submit`.
        NoAnswer: no state in it; ask again.
    """
    try:
        body = _usable_body(answer)
    except TaskNotFound as error:
        error.hint = "Check the task_id. A task belongs to the API key that made it."
        raise
    snapshot = wire.read_snapshot(body)
    if snapshot is None:
        raise NoAnswer("The image API's answer to the query holds no status.", status=answer.status)
    return snapshot


def read_account(answer: Answer) -> str:
    """The credits left, as a decimal string, in the answer about the account.

    Raises:
        Refused: as :func:`read_submit`.
        NoAnswer: no credits in it.
    """
    credit = wire.read_credits(wire.unwrap(_usable_body(answer)).get("credit"))
    if credit is None:
        raise NoAnswer("The image API's answer about the account names no credits.", status=answer.status)
    return credit


def task_id_in_fragment(body: bytes) -> str | None:
    """The task id in a body that broke off: an id up to its closing quote is whole, and was paid for."""
    found = _WHOLE_TASK_ID.search(body)
    return found[1].decode() if found else None


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds to wait according to a ``Retry-After`` header, in either of its forms (RFC 9110, 10.2.3).

    Args:
        now: Unix time in seconds, for tests.

    Returns:
        None where it cannot be read. A time without a zone is UTC.
    """
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d{1,9})?\s*", value):
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        # Not timestamp(): it fails for a year that the zone moves out of the calendar.
        seconds = (moment - _EPOCH).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, seconds - (time.time() if now is None else now))


def _usable_body(answer: Answer) -> dict[str, Any]:
    body = answer.json
    if not answer.successful:
        if _is_refusal(answer.status):
            raise _refusal(answer, body)
        raise NoAnswer(f"The image API's gateway answered {_named(answer.status)}.", status=answer.status)
    if body is None:
        raise NoAnswer("The image API answered with something that is not its JSON.", status=answer.status)
    if wire.failure_code(body):
        if _status_in_code(body) in _MEANING:
            raise _refusal(answer, body)
        raise NoAnswer(f"The image API answered the query with a failure.{_said(body)}", status=answer.status)
    return body


def _is_refusal(status: int) -> bool:
    # 408: the server gave up on a request that it may have read in part, as gateways do.
    return status in _REFUSING_FOR_NOW or (300 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT)


def _status_in_code(body: dict[str, Any]) -> int | None:
    """The HTTP status that a 200 answer carries in its ``code`` or words, if it names one."""
    code = str(body.get("code"))
    if code.isdecimal() and len(code) == 3:
        return int(code)
    return 404 if "task not found" in (wire.failure_text(body) or "").lower() else None


def _refusal(answer: Answer, body: dict[str, Any] | None) -> DefapiError:
    if answer.successful and body is not None:
        status, named = _status_in_code(body) or 400, f"code {wire.clean(str(body.get('code')))[:20]}"
    else:
        status, named = answer.status, str(answer.status)
    if status in _REFUSING_FOR_NOW and (status == HTTPStatus.TOO_MANY_REQUESTS or not answer.successful):
        what = "is limiting requests" if status == HTTPStatus.TOO_MANY_REQUESTS else "has trouble"
        words = f"The image API {what} ({named}).{_said(body)}"
        return Busy(words, status=status, retry_after=parse_retry_after(answer.retry_after))
    if 300 <= status < 400:
        hint = "Check DEFAPI_BASE_URL: it should be the address that the redirect leads to."
        return RequestRefused(f"The image API answered with a redirect ({named}).", status=status, hint=hint)
    kind, what = _MEANING.get(status, (RequestRefused, "The image API refused the request"))
    error = kind(f"{what} ({named}).{_said(body)}", status=status)
    if status in _REFUSING_FOR_NOW or status >= 500:
        error.hint = "Try again later."
    return error


def _said(body: dict[str, Any] | None) -> str:
    text = wire.failure_text(body)
    return f" It said: {wire.sentence(text)}" if text else ""


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
