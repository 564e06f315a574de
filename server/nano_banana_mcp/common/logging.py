"""Logging to stderr, as text or as JSON, with context fields on each record.

Secrets (keys, tokens, prompts, callback addresses) are not logged in the first place: our modules log none, and loggers
of libraries, which show addresses and whole messages at low levels, are limited to higher levels.
:func:`without_secrets` is the safety net for the text of tracebacks.
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
from typing import Any, Literal

from nano_banana_mcp.common.text import configure_stream

LogFormat = Literal["text", "json"]

FIELDS = ("request_id", "principal", "task_id", "method", "tool", "outcome", "seconds")
"""Context fields of a record; a field without a value is left out."""

_OURS = ("nano_banana_mcp", "nano_banana_tools")

# Lowest level of loggers that reveal too much, or log normal events, below it.
_MIN_LEVELS = {
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx2": logging.WARNING,
    "httpcore2": logging.WARNING,
    "mcp.server.mcpserver": logging.WARNING,
    "stamina": logging.ERROR,
}

# Loggers of external ASGI servers: they log addresses and callers at every level.
_SERVER_LOGGERS = (
    "uvicorn.access",
    "uvicorn.error",
    "gunicorn.access",
    "gunicorn.error",
    "hypercorn.access",
    "hypercorn.error",
)

_SECRETS = re.compile(r"(/(?:webhooks|references)/)[^\s\"']+|\b(Bearer )[^\s\"']+|\b(dk-)[\w-]{4,}", re.IGNORECASE)

_context: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("log_context", default=None)


@contextmanager
def log_context(**fields: Any) -> Iterator[None]:
    """Add these :data:`FIELDS` to every record of the block and of tasks started in it; None adds nothing."""
    given = {name: value for name, value in fields.items() if value is not None}
    token = _context.set({**(_context.get() or {}), **given})
    try:
        yield
    finally:
        _context.reset(token)


def context_field(field: str) -> Any:
    """Return the current value of a context field, or None."""
    return (_context.get() or {}).get(field)


def without_secrets(text: str) -> str:
    """Return ``text`` with keys, tokens and the secret part of callback and upload addresses replaced by ``***``."""
    return _SECRETS.sub(lambda match: f"{match[1] or match[2] or match[3]}***", text)


def configure_logging(level: str, form: LogFormat = "text") -> None:
    """Log to stderr; over stdio, stdout belongs to the protocol.

    Args:
        level: Lowest level of our own records. Records of libraries start at INFO at the lowest.
        form: ``text``, or ``json`` with one object a line.
    """
    configure_stream(sys.stderr)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_add_context)
    handler.addFilter(_is_relevant)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.getLevelNamesMapping()[level], logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    limit_library_loggers()
    logging.captureWarnings(True)


def limit_library_loggers() -> None:
    """Silence what libraries log of normal events such as a retry; commands print those without any configuration."""
    for name, min_level in _MIN_LEVELS.items():
        logging.getLogger(name).setLevel(max(min_level, logging.getLogger().level))


def configure_host_logging(level: str, form: LogFormat = "text") -> None:
    """Under an external ASGI server: configure logging unless it is configured, and remove secrets from its records."""
    if not logging.getLogger().handlers:
        configure_logging(level, form)
    for name, min_level in _MIN_LEVELS.items():
        logging.getLogger(name).setLevel(logging.getLogger(name).level or min_level)
    for name in (*_SERVER_LOGGERS, *_MIN_LEVELS):
        logging.getLogger(name).addFilter(_conceal)  # adding a filter twice has no effect


def announce(message: str) -> None:
    """Write a message for the operator at any log level: as a plain line, or as a record where the log is JSON."""
    handlers = logging.getLogger().handlers
    if handlers and isinstance(handlers[0].formatter, _Json):
        record = logging.LogRecord("nano_banana_mcp", logging.INFO, __file__, 0, message, None, None)
        handlers[0].handle(record)
    else:
        sys.stderr.write(f"{message}\n")


def _conceal(record: logging.LogRecord) -> bool:
    """Remove secrets from a record before a handler formats it."""
    if isinstance(record.args, tuple):  # formatters such as that of uvicorn unpack the arguments
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


def _is_relevant(record: logging.LogRecord) -> bool:
    """Filter out two faults of clients that libraries log as server errors, with a traceback.

    A client that disconnects during its request, and a body that breaks the protocol, which uvicorn has refused.
    """
    error = record.exc_info[1] if record.exc_info else None
    name = type(error).__name__  # by name: neither class is imported over stdio
    # Any other LocalProtocolError means that a response of ours is invalid.
    return name != "ClientDisconnect" and not (name == "LocalProtocolError" and "MUST_CLOSE" in str(error))


def _add_context(record: logging.LogRecord) -> bool:
    """Add the context fields to a record; fields given with the record take precedence."""
    for name, value in (_context.get() or {}).items():
        if not hasattr(record, name):
            setattr(record, name, value)
    return True


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FIELDS if getattr(record, name, None) is not None}


def _quoted(value: Any) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text else json.dumps(text)


class _Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - overrides a method of logging
        fields = " ".join(f"{name}={_quoted(value)}" for name, value in _fields(record).items())
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
