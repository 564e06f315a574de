"""The exact shapes of the messages that the front answers. Everything else is left to the SDK to judge."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

ENVELOPE = "io.modelcontextprotocol/"
MODERN = "2026-07-28"
"""The revision without a handshake: each request carries its version and capabilities in an envelope in ``_meta``."""

MAX_BRACKETS = 150
"""In one message. The SDK refuses JSON that is nested more than about 200 levels deep."""

_LOG_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

Message = dict[str, Any]


def parse(line: bytes) -> Message | None:
    """A request or a notification; None for all that the SDK might read in another way or refuse."""
    try:
        text = line.decode()
        # Escapes may hold half a surrogate pair, and the SDK splits lines at a carriage return too.
        if "\\u" in text or "\r" in text.removesuffix("\n").removesuffix("\r"):
            return None
        if text.count("{") + text.count("[") > MAX_BRACKETS:
            return None
        message = json.loads(text, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or not has_only(message, {"jsonrpc", "id", "method", "params"}):
        return None
    has_parts = isinstance(message.get("method"), str) and isinstance(message.get("params", {}), dict)
    return message if has_parts and message.get("jsonrpc") == "2.0" else None


def is_envelope(meta: Message) -> bool:
    """Whether ``_meta`` is the complete envelope of a modern request."""
    names = {f"{ENVELOPE}{name}" for name in ("protocolVersion", "clientInfo", "clientCapabilities", "logLevel")}
    return (
        meta.get(f"{ENVELOPE}protocolVersion") == MODERN
        and names >= {key for key in meta if key.startswith(ENVELOPE)}
        and meta.get(f"{ENVELOPE}logLevel", "debug") in _LOG_LEVELS
        and is_client_info(meta.get(f"{ENVELOPE}clientInfo", {"name": "", "version": ""}))
        and is_capabilities(meta.get(f"{ENVELOPE}clientCapabilities"))
    )


def is_client_info(value: object) -> bool:
    """Whether it names a client in plain text."""
    names = {"name", "version", "title", "description", "websiteUrl"}
    return isinstance(value, dict) and {"name", "version"} <= value.keys() and has_only(value, names, str)


def is_capabilities(value: object) -> bool:
    """Whether it has the shape of the capabilities that clients declare."""
    names = {"experimental", "extensions", "elicitation", "sampling", "roots"}
    if not isinstance(value, dict) or not has_only(value, names, dict):
        return False
    return all(
        has_only(item, {"listChanged"}, bool) if name == "roots" else has_only(item, item, dict)
        for name, item in value.items()
    )


def has_only(value: Message, names: Collection[str], kind: type | None = None) -> bool:
    """Whether no key is another one than these, and each value is exactly of the type ``kind``."""
    return value.keys() <= set(names) and (kind is None or all(type(item) is kind for item in value.values()))


def to_line(message: Message) -> bytes:
    """The message as it goes over the wire."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _unique(pairs: list[tuple[str, Any]]) -> Message:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value
