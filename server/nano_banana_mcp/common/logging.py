"""Logs on stderr, as text or as JSON, each record with what it is about. Knows no MCP.

What must not be in them (keys, tokens, prompts, callback addresses) is not logged in the first place: our own modules
log none of it, and those of others, whose low levels show addresses, errors and whole messages, are held above
them. :func:`without_secrets` is the net below that, for the words of a traceback.
"""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nano_banana_mcp.settings import LogFormat

FIELDS = ("request_id", "principal", "task_id", "method", "tool", "outcome", "seconds")
"""What a record may carry besides its message; absent where it is not known."""

_OURS = ("nano_banana_mcp", "nano_banana_tools")

# Of others, these say too much, or what is no news, even below WARNING or ERROR.
_LEAST = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "mcp.server.mcpserver": logging.WARNING,
    "stamina": logging.ERROR,
}

# The loggers of servers whose guest we may be: they name addresses and callers at any level.
_HOSTS = ("uvicorn.access", "uvicorn.error", "gunicorn.access", "gunicorn.error", "hypercorn.access", "hypercorn.error")

_SECRETS = re.compile(r"(/webhooks/)[^\s\"']+|\b(Bearer )[^\s\"']+|\b(dk-)[\w-]{4,}", re.IGNORECASE)

_about: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("about", default=None)


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """Within the block, and in tasks started in it, records carry these :data:`FIELDS`; None adds nothing."""
    known = {name: value for name, value in fields.items() if value is not None}
    token = _about.set({**(_about.get() or {}), **known})
    try:
        yield
    finally:
        _about.reset(token)


def known(field: str) -> Any:
    """What the records of now carry as ``field``, or None."""
    return (_about.get() or {}).get(field)


def without_secrets(text: str) -> str:
    """``text`` without what looks like a key, a token or the rest of a callback's address."""
    return _SECRETS.sub(lambda match: f"{match[1] or match[2] or match[3]}***", text)


def configure_logging(level: str, form: LogFormat = "text") -> None:
    """Log to stderr: while serving stdio, stdout is the protocol."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_carry)
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.getLevelNamesMapping()[level], logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name, least in _LEAST.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    logging.captureWarnings(True)


def set_up_as_guest(level: str, form: LogFormat = "text") -> None:
    """As :func:`configure_logging` if nobody has set logging up; in any case, keep secrets out of what others log."""
    if not logging.getLogger().handlers:
        configure_logging(level, form)
    for name, least in _LEAST.items():
        logging.getLogger(name).setLevel(logging.getLogger(name).level or least)
    for name in (*_HOSTS, *_LEAST):
        logging.getLogger(name).addFilter(_conceal)  # a second time changes nothing


def announce(message: str) -> None:
    """Tell whoever started the process, whatever the level; as a plain line, or as a record among JSON."""
    handlers = logging.getLogger().handlers
    if handlers and isinstance(handlers[0].formatter, _Json):
        record = logging.LogRecord("nano_banana_mcp", logging.INFO, __file__, 0, message, None, None)
        handlers[0].handle(record)
    else:
        sys.stderr.write(f"{message}\n")


def _conceal(record: logging.LogRecord) -> bool:
    """Take secrets out of a record before any handler has it."""
    if isinstance(record.args, tuple):  # which formatters such as uvicorn's take apart
        record.args = tuple(_concealed(value) for value in record.args)
        record.msg = _concealed(record.msg)
    else:
        record.msg, record.args = without_secrets(record.getMessage()), None
    if record.exc_info and not record.exc_text:
        record.exc_text = without_secrets(logging.Formatter().formatException(record.exc_info))
    return True


def _concealed(value: Any) -> Any:
    text = str(value)
    safe = without_secrets(text)
    return value if safe == text else safe


def _is_news(record: logging.LogRecord) -> bool:
    """Neither a client that leaves amid its own request is, nor one whose request breaks the protocol amid its body,
    which uvicorn has refused by then: both are logged as errors of the server, with a traceback.
    """
    error = record.exc_info[1] if record.exc_info else None
    name = type(error).__name__  # neither class is imported over stdio
    # Any other LocalProtocolError would tell of an answer of ours that is wrong.
    return name != "ClientDisconnect" and not (name == "LocalProtocolError" and "MUST_CLOSE" in str(error))


def _carry(record: logging.LogRecord) -> bool:
    """Hang what is known by the context on the record; what it was logged with comes first."""
    for name, value in (_about.get() or {}).items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}


def _word(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        fields = " ".join(f"{name}={_word(value)}" for name, value in _fields(record).items())
        return f"{super().formatMessage(record)} [{fields}]" if fields else super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            **_fields(record),
        }
        if record.exc_info:
            entry["error"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False, default=str)
