"""Turn a complete answer of the API into a value or an error."""

from __future__ import annotations

import email.utils
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from nano_banana_mcp.common.text import clean, sentence
from nano_banana_mcp.defapi import schemas
from nano_banana_mcp.defapi.errors import (
    Blocked,
    Busy,
    DefapiError,
    KeyRefused,
    ModelRefused,
    NoAnswer,
    OutcomeUnknown,
    OutOfCredits,
    RequestRefused,
    TaskNotFound,
)

MAY_HAVE_BEEN_CHARGED = "The image may have been charged."

MAX_RETRY_AFTER_SECONDS = 86_400.0
"""Longer pauses in a ``Retry-After`` header are read as one day."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WHOLE_TASK_ID = re.compile(rb'"task_id"\s*:\s*"([A-Za-z0-9_-]{1,128})"')
_WALL_CODE = re.compile(rb"error code:\s*\d{3,5}", re.IGNORECASE)
_WALL = re.compile(rb"cloudflare|captcha|cf-ray|akamai|imperva|incapsula|sucuri|datadome", re.IGNORECASE)
_MODEL_UNKNOWN = re.compile(
    r"\bmodels?\b.{0,80}\b(not (found|exist|support|available|allowed|offered)|does(n't| not)|no longer|"
    r"(un|not |in)(known|supported|valid|available)|unrecogni[sz]ed|deprecated|retired|removed|disabled|discontinued|"
    r"shut ?down|sunset)"
    r"|\b(unknown|unsupported|invalid|unrecogni[sz]ed|no such|deprecated|retired)\b.{0,20}\bmodel\b",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"\b(request|body|payload|entity)\b.{0,40}\b(too (large|big|long)|exceed)", re.IGNORECASE)
_TEMPORARY_REFUSALS = frozenset({429, 500, 503})

_MEANING: dict[int, tuple[type[DefapiError], str]] = {
    401: (KeyRefused, "The image API refused the API key"),
    402: (OutOfCredits, "The account does not have enough credits"),
    403: (KeyRefused, "The image API does not allow this request with the API key in use"),
    404: (TaskNotFound, "The image API has no such task or address"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete HTTP answer."""

    status: int
    body: bytes
    retry_after: str | None = None

    @property
    def successful(self) -> bool:
        """Whether the status is 200-299."""
        return 200 <= self.status < 300

    @property
    def json(self) -> dict[str, Any] | None:
        """The body as a JSON object; None if it is anything else."""
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError):
            return None
        return value if isinstance(value, dict) else None


def read_submit(answer: Answer) -> str:
    """Return the task id in the answer to a submit.

    Raises:
        Refused: The API refused the request; it reported no charge.
        OutcomeUnknown: The answer does not show whether a task was created.
    """
    # A task id proves that a task was created, whatever the status: another submit would pay twice.
    if task_id := task_id_in_fragment(answer.body):
        return task_id
    body = answer.json
    if answer.successful and (body is None or not schemas.failure_code(body)):
        raise OutcomeUnknown(
            f"The image API accepted the request, but its answer contains no task id. {MAY_HAVE_BEEN_CHARGED}",
            status=answer.status,
        )
    if answer.successful or _is_refusal(answer.status):
        raise _refusal(answer, body)
    raise OutcomeUnknown(
        f"The image API's gateway answered {_status_name(answer.status)}, so it is not known whether the request "
        f"arrived. {MAY_HAVE_BEEN_CHARGED}",
        status=answer.status,
    )


def read_query(answer: Answer) -> schemas.TaskSnapshot:
    """Return the state in the answer to a query.

    Raises:
        Refused: The API refused the query.
        NoAnswer: The answer contains no state; query again.
    """
    try:
        body = _usable_body(answer)
    except TaskNotFound as error:
        error.hint = "Check the task_id. A task can only be queried with the API key that created it."
        raise
    snapshot = schemas.read_snapshot(body)
    if snapshot is None:
        raise NoAnswer("The answer of the image API to the query contains no status.", status=answer.status)
    return snapshot


def read_account(answer: Answer) -> str:
    """Return the remaining credits, as a decimal string, in the answer about the account.

    Raises:
        Refused: The API refused the query.
        NoAnswer: The answer contains no credits.
    """
    credit = schemas.read_credits(schemas.unwrap(_usable_body(answer)).get("credit"))
    if credit is None:
        raise NoAnswer("The answer of the image API about the account contains no credits.", status=answer.status)
    return credit


def task_id_in_fragment(body: bytes) -> str | None:
    """Return the task id in a body that may be cut off: an id with its closing quote is complete, and was paid for."""
    match = _WHOLE_TASK_ID.search(body)
    return match[1].decode() if match else None


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Return the seconds of a ``Retry-After`` header in either of its forms (RFC 9110, section 10.2.3).

    Args:
        value: The header; None if it is missing.
        now: The current time, in seconds since the epoch; None for the clock.

    Returns:
        0 to :data:`MAX_RETRY_AFTER_SECONDS`, or None if the header cannot be read.
    """
    if value is None:
        return None
    if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value, re.ASCII):
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        # Not timestamp(): it fails for a year that the zone moves out of the calendar.
        seconds = (moment - _EPOCH).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds - (time.time() if now is None else now)), MAX_RETRY_AFTER_SECONDS)


def _usable_body(answer: Answer) -> dict[str, Any]:
    body = answer.json
    if not answer.successful:
        if _is_refusal(answer.status):
            raise _refusal(answer, body)
        raise NoAnswer(f"The image API's gateway answered {_status_name(answer.status)}.", status=answer.status)
    if body is None:
        raise NoAnswer("The image API answered with something other than a JSON object.", status=answer.status)
    if schemas.failure_code(body):
        if _status_in_code(body) in _MEANING:
            raise _refusal(answer, body)
        raise NoAnswer(f"The image API answered the query with a failure.{_api_message(body)}", status=answer.status)
    return body


def _is_refusal(status: int) -> bool:
    # 408 is not a refusal: a gateway timed out on a request that the server may have received.
    return status in _TEMPORARY_REFUSALS or (300 <= status < 500 and status != HTTPStatus.REQUEST_TIMEOUT)


def _status_in_code(body: dict[str, Any]) -> int | None:
    """Return the HTTP status in the ``code`` or the message of a 200 answer, or None."""
    code = str(body.get("code"))
    if code.isdecimal() and len(code) == 3:
        return int(code)
    return 404 if "task not found" in (schemas.failure_text(body) or "").lower() else None


def _refusal(answer: Answer, body: dict[str, Any] | None) -> DefapiError:
    if answer.successful and body is not None:
        status, name = _status_in_code(body) or 400, f"code {clean(str(body.get('code')))[:20]}"
    else:
        status, name = answer.status, str(answer.status)
    if status in _TEMPORARY_REFUSALS and (status == HTTPStatus.TOO_MANY_REQUESTS or not answer.successful):
        problem = "is limiting requests" if status == HTTPStatus.TOO_MANY_REQUESTS else "has a temporary problem"
        message = f"The image API {problem} ({name}).{_api_message(body)}"
        return Busy(message, status=status, retry_after=parse_retry_after(answer.retry_after))
    if 300 <= status < 400:
        hint = "Set DEFAPI_BASE_URL to the address that the redirect leads to."
        return RequestRefused(f"The image API answered with a redirect ({name}).", status=status, hint=hint)
    if status == HTTPStatus.FORBIDDEN and _is_from_wall(answer, body):
        return Blocked(
            f"Bot protection in front of the image API blocked this request ({_wall_name(answer)}).", status=403
        )
    said = schemas.failure_text(body) or ""
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE or (status == 400 and _TOO_LARGE.search(said)):
        hint = "Pass fewer or smaller reference images."
        message = f"The request is too large for the image API ({name}).{_api_message(body)}"
        return RequestRefused(message, status=status, hint=hint)
    if _MODEL_UNKNOWN.search(f"{said} {schemas.failure_word(body)}"):
        message = f"The image API does not offer this model ({name}); it may have been retired.{_api_message(body)}"
        return ModelRefused(message, status=status)
    kind, message = _MEANING.get(status, (RequestRefused, "The image API refused the request"))
    error = kind(f"{message} ({name}).{_api_message(body)}", status=status)
    if status in _TEMPORARY_REFUSALS or status >= 500:
        error.hint = "Try again later."
    return error


def _is_from_wall(answer: Answer, body: dict[str, Any] | None) -> bool:
    """Whether a 403 is not the API's: its errors are JSON with a code or a text."""
    is_api_error = body is not None and ("code" in body or schemas.failure_text(body) is not None)
    return not is_api_error or _WALL_CODE.search(answer.body) is not None or _WALL.search(answer.body) is not None


def _wall_name(answer: Answer) -> str:
    code = _WALL_CODE.search(answer.body)
    return f"403, {code[0].decode().lower()}" if code else "403, without an answer of the API"


def _api_message(body: dict[str, Any] | None) -> str:
    text = schemas.failure_text(body)
    return f" It said: {sentence(text)}" if text else ""


def _status_name(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
