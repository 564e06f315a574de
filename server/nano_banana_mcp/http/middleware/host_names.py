"""Answer only requests whose Host and Origin are allowed: otherwise any web page could reach a server on this machine
by DNS rebinding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from nano_banana_mcp.common.urls import LOOPBACK_HOSTS, host_to_ascii
from nano_banana_mcp.http.auth.bind_policy import is_unspecified
from nano_banana_mcp.settings import Settings, SettingsError, variable_of

_NAME = re.compile(r"(\*\.)?(?!-)([a-z0-9_-]{1,63}\.)*(?!\d+$)[a-z0-9_-]{1,63}")
"""A name as DNS has it. Its last part is no number: what ends in one is an address, or nothing (WHATWG URL)."""

_NO_AUTHORITY = re.compile(r"[\s/?#@\\]")
_SERVICE_NAME = re.compile(r"[a-z0-9_-]{1,63}")
"""A name without a dot, as services have in a compose network. No web page can have one."""


class HostNames:
    """The names by which this server may be called, on any port and in any case.

    Args:
        names: Host names and addresses; ``*.example.org`` stands for all names below example.org.
    """

    def __init__(self, names: Iterable[str]) -> None:
        all_names = {_canonical(name) for name in names}
        self._names = {name for name in all_names if not name.startswith("*.")}
        self._suffixes = tuple(name[1:] for name in all_names if name.startswith("*."))

    def allows_host(self, host: str) -> bool:
        """Whether a Host header has an allowed name."""
        return self._allows(_name_in(host))

    def allows_origin(self, origin: str) -> bool:
        """Whether an Origin header has an allowed name; its scheme may be http or https."""
        scheme, _, authority = origin.partition("://")
        return scheme in ("http", "https") and self._allows(_name_in(authority))

    def _allows(self, name: str | None) -> bool:
        return name is not None and (name in self._names or name.endswith(self._suffixes))


def allowed_host_names(settings: Settings) -> HostNames:
    """The names that the settings allow: this machine's, the public URL's, and those of NANO_BANANA_ALLOWED_HOSTS.

    Raises:
        SettingsError: an entry can never match.
    """
    addresses = {address for address in settings.listen_addresses if not is_unspecified(address)}
    public = urlsplit(settings.public_url or "").hostname
    return HostNames(
        [*LOOPBACK_HOSTS, *addresses, *([public] if public else []), *map(_entry_name, settings.allowed_host_names)]
    )


def _entry_name(entry: str) -> str:
    """The name in an entry of NANO_BANANA_ALLOWED_HOSTS, which may be a name, a name with a port, or a URL."""
    authority = entry.partition("://")[2].partition("/")[0] if "://" in entry else entry
    if _is_address(authority):
        return authority
    wildcard = "*." if authority.startswith("*.") else ""
    name = _name_in(authority.removeprefix(wildcard).removesuffix(":*"))
    if name is None or not (_NAME.fullmatch(name) or (_is_address(name) and not wildcard)):
        raise SettingsError(
            f"{variable_of('allowed_hosts')}: {entry!r} can never match. Use a host name such as images.example.org, "
            "or *.example.org for all names below it."
        )
    return wildcard + name


def _name_in(authority: str) -> str | None:
    """The name in ``name:port``, in the one form that is compared; None without one."""
    if _NO_AUTHORITY.search(authority):
        return None
    try:
        parts = urlsplit(f"//{authority}")
        _ = parts.port
        return _canonical(parts.hostname or "") or None
    except ValueError:
        return None


def _canonical(name: str) -> str:
    """A name in lower case and as DNS writes it, or an address in its shortest form.

    Raises:
        ValueError: the name has letters that DNS cannot have.
    """
    plain = host_to_ascii(name).rstrip(".")
    return str(ip_address(plain)) if _is_address(plain) else plain


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class CheckHostNames:
    """ASGI middleware: refuses other Host headers with 421 and other Origin headers with 403.

    Args:
        host_names: The allowed names.
        internal: Whether to answer to addresses and service names, too: monitoring and orchestrators use them, and no
            web page can have such a name.
    """

    def __init__(self, app: ASGIApp, host_names: HostNames, *, internal: bool = False) -> None:
        self._app = app
        self._host_names = host_names
        self._internal = internal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        app = self._app
        if not (self._host_names.allows_host(host) or (self._internal and _is_internal(host))):
            app = PlainTextResponse(_misdirected(host), status_code=421)
        elif origin and not self._host_names.allows_origin(origin):
            words = f"This origin is not allowed. Add its host name to {variable_of('allowed_hosts')}."
            app = PlainTextResponse(words, status_code=403)
        await app(scope, receive, send)


def _is_internal(host: str) -> bool:
    name = _name_in(host)
    return name is not None and (_is_address(name) or _SERVICE_NAME.fullmatch(name) is not None)


def _misdirected(host: str) -> str:
    name = _name_in(host) or ""
    named = name if _NAME.fullmatch(name) or _is_address(name) else "the name of this server"
    return f"This server does not accept this host name. Add {named} to {variable_of('allowed_hosts')}."
