"""Whether the entries of hosts that name a remote server work: each address must answer the handshake of MCP."""

from __future__ import annotations

import json
import os
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import anyio
import httpx

from nano_banana_mcp import __version__
from nano_banana_mcp.commands.console import printable
from nano_banana_mcp.commands.findings import Finding
from nano_banana_mcp.common.certificates import UnusableCertificates, tls_context
from nano_banana_mcp.common.proxies import UnusableProxy, proxy_for
from nano_banana_mcp.install.entry import urls_of
from nano_banana_mcp.install.hosts import NAME, Host
from nano_banana_mcp.install.launch import filled_in

MAX_SECONDS = 15.0
"""Time for one address to answer."""

_PROTOCOL_VERSION = "2025-06-18"
"""One that servers of this version and the one before answer."""

_HANDSHAKE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": _PROTOCOL_VERSION,
        "capabilities": {},
        "clientInfo": {"name": "nano-banana-mcp doctor", "version": __version__},
    },
}
_ACCEPT = {"Accept": "application/json, text/event-stream"}


class _NotReached(Exception):
    """The address does not lead to an MCP server. The text says why."""


def is_remote_entry(name: str, entry: Any) -> bool:
    """Whether an entry is one that `install --url` wrote: by its name, since its address can be anywhere."""
    return NAME in name and bool(urls_of(entry))


async def check_remote_entry(host: Host, name: str, entry: Any, *, timeout_seconds: float = MAX_SECONDS) -> Finding:
    """Send the handshake to the server that an entry names, with the token of the entry.

    Args:
        host: The host that has the entry.
        name: The name of the entry.
        entry: The entry, which names an address.
        timeout_seconds: Maximum time until the server has answered.
    """
    url = urls_of(entry)[0]
    title = f"“{name}” at {printable(_without_query(url))}"
    token = _authorization(entry)
    is_complete = token is not None and "$" not in token
    started_at = time.monotonic()
    try:
        with anyio.fail_after(timeout_seconds):
            status = await _handshake(url, {"Authorization": token} if token and is_complete else {})
    except TimeoutError:
        return Finding(False, host.title, f"{title}: no answer within {timeout_seconds:g} s", "Is the server running?")
    except _NotReached as error:
        return Finding(False, host.title, f"{title}: {error}", "Check the address, the server and the network.")
    if status == HTTPStatus.OK:
        return Finding(True, host.title, f"{title} answers in {time.monotonic() - started_at:.1f} s")
    return _refused(host, title, token, is_complete=is_complete)


def _refused(host: Host, title: str, token: str | None, *, is_complete: bool) -> Finding:
    """What it means that a server wants another token than the entry's, or any."""
    if token is None:
        return Finding(True, host.title, f"{title} answers, and asks to sign in, which the host does")
    if is_complete:
        advice = f"Ask the operator for a token, then: nano-banana-mcp install {host.id} --url URL"
        return Finding(False, host.title, f"{title} refuses the token of the entry", advice)
    if host.fills_in_itself or "${input:" in token:
        return Finding(True, host.title, f"{title} answers, and wants the token, which the host has")
    return Finding(False, host.title, f"{title} wants a token, and the variable that the entry names is not set here")


def _authorization(entry: Any) -> str | None:
    """The value of the Authorization header, with variables of this process; None if the entry has none."""
    if isinstance(variable := entry.get("bearer_token_env_var"), str):
        return f"Bearer {os.environ.get(variable, '$' + variable)}"
    for key in ("headers", "http_headers"):
        headers = entry.get(key)
        if isinstance(headers, dict) and headers.get("Authorization"):
            return filled_in(str(headers["Authorization"]), os.environ)
    return None


async def _handshake(url: str, headers: dict[str, str]) -> int:
    """Return the status of the answer to `initialize`.

    Raises:
        _NotReached: There is no answer, or it is not that of an MCP server.
    """
    try:
        proxy = proxy_for(url)
        async with httpx.AsyncClient(
            proxy=None if proxy is None else proxy.for_httpx(),
            trust_env=False,
            verify=tls_context() if url.startswith("https:") else False,
            timeout=None,  # noqa: S113 - the caller has a deadline
        ) as http:
            answer = await http.post(url, json=_HANDSHAKE, headers={**_ACCEPT, **headers})
            if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                return answer.status_code
            if answer.is_redirect:
                raise _NotReached(f"it redirects ({answer.status_code}); name the address that this leads to")
            if answer.status_code != HTTPStatus.OK or not _is_mcp(answer):
                raise _NotReached(f"what answers is not an MCP server ({answer.status_code})")
            if session := answer.headers.get("mcp-session-id"):
                await http.delete(url, headers={**headers, "Mcp-Session-Id": session})
            return answer.status_code
    except (UnusableProxy, UnusableCertificates) as error:
        raise _NotReached(str(error)) from None
    except httpx.ConnectError:
        raise _NotReached(
            "no connection: the name does not resolve, the port is closed, or the certificate is not valid"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _NotReached(f"the request failed: {printable(str(error)) or 'the connection broke'}") from None


def _is_mcp(answer: httpx.Response) -> bool:
    texts = [answer.text]
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        texts = [line.removeprefix("data:") for line in answer.text.splitlines() if line.startswith("data:")]
    for text in filter(str.strip, texts):
        try:
            message = json.loads(text)
        except ValueError:
            return False
        result = message.get("result") if isinstance(message, dict) else None
        if isinstance(result, dict) and "serverInfo" in result:
            return True
    return False


def _without_query(url: str) -> str:
    """The address without what may be a secret in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
