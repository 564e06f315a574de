"""Downloads images from untrusted hosts: ``fetch`` → ``_follow`` → ``_route``, ``_get`` → ``_read``.

The connection goes to an address that was checked: a name is resolved here, once for each hop, and the request is sent
to that address. Where the environment names a proxy for the host, the proxy resolves the name instead.
"""

from __future__ import annotations

import io
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import anyio

from nano_banana_mcp.common.certificates import UnusableCertificates
from nano_banana_mcp.common.proxies import Proxy, UnusableProxy, proxy_for
from nano_banana_mcp.common.tracing import answered, request_span
from nano_banana_mcp.common.user_agent import USER_AGENT
from nano_banana_mcp.images.download.connection import Connector, ConnectTo, unavailable
from nano_banana_mcp.images.download.content_encoding import decode_body, is_encoded
from nano_banana_mcp.images.download.ip_policy import is_public, is_synthetic, is_unspecified
from nano_banana_mcp.images.download.url_policy import Target
from nano_banana_mcp.images.errors import AddressRefused, ImageUnavailable
from nano_banana_mcp.images.formats import HEAD_BYTES
from nano_banana_mcp.images.image import (
    MAX_BYTES,
    MAX_PIXELS,
    EncodedImage,
    image_from_bytes,
    is_truncated,
    may_have_all_pixels,
    require_image,
    too_many_bytes,
)

if TYPE_CHECKING:
    import ssl

    import httpx

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Resolves a name and a port to addresses."""

Origins = Callable[[], Iterable[str]] | Iterable[str]

_REDIRECTS = {301, 302, 303, 307, 308}
_HINTS = {
    401: "The host refuses to hand it out: use a URL that needs no login.",
    403: "The host refuses to hand it out to this server, or the link has expired: use another URL.",
    404: "The link may have expired: results are kept for a limited time.",
    410: "The link may have expired: results are kept for a limited time.",
}


async def resolve_host(host: str, port: int) -> list[str]:
    """Return all addresses of a name, best first."""
    answers = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in answers]


class ImageFetcher:
    """Downloads images. Close it with :meth:`aclose`.

    Args:
        trust_resolver: Whether to trust names that resolve to the synthetic addresses of a local proxy program
            (198.18.0.0/15), which the program maps back to the name.
        trusted_origins: Origins such as ``http://127.0.0.1:4567``, written exactly as in the URLs, that are exempt
            from the rules, or a function that returns them for each download. For the sandbox.
        max_bytes: Maximum size of an image.
        max_pixels: Maximum number of pixels that an image may claim.
        deadline_seconds: Maximum duration of a download: resolving, connections, redirects and all bytes.
        max_redirects: Maximum number of redirects.
        connect_to: For tests: the address that connections to a checked address use instead.
    """

    def __init__(
        self,
        *,
        trust_resolver: bool = False,
        trusted_origins: Origins = (),
        max_bytes: int = MAX_BYTES,
        max_pixels: int = MAX_PIXELS,
        deadline_seconds: float = 28.0,
        max_redirects: int = 3,
        user_agent: str = USER_AGENT,
        resolve: Resolve = resolve_host,
        ssl_context: ssl.SSLContext | None = None,
        connect_to: ConnectTo | None = None,
    ) -> None:
        self._trust_resolver = trust_resolver
        self._trusted_origins = trusted_origins
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._deadline = deadline_seconds
        self._max_redirects = max_redirects
        self._resolve = resolve
        self._connector = Connector(user_agent=user_agent, ssl_context=ssl_context, connect_to=connect_to)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._connector.aclose()

    async def fetch(self, url: str) -> EncodedImage:
        """Download the image at a URL.

        Raises:
            AddressRefused: The URL, or one that it redirects to, is not on the public internet.
            ImageUnavailable: The host did not return it, or not in time.
            NotAnImage: The answer is not an image.
            ImageTooLarge: It has too many bytes or pixels.
        """
        target = Target.parse(url)
        try:
            # httpx limits each read, not their sum: a slow body needs a deadline for the whole download.
            with request_span("picture.fetch", "GET", target.host), anyio.fail_after(self._deadline):
                return await self._follow(target)
        except TimeoutError:
            raise ImageUnavailable(
                f"The host {target.host} did not deliver the picture within {self._deadline:g} s."
            ) from None

    async def _follow(self, target: Target) -> EncodedImage:
        origins = self._trusted_origins() if callable(self._trusted_origins) else self._trusted_origins
        trusted = frozenset(origin.lower().rstrip("/") for origin in origins)
        for _ in range(self._max_redirects + 1):
            if target.origin not in trusted:
                trusted = frozenset()  # an untrusted host must not redirect to a trusted one
            answer = await self._get(target, await self._route(target, trusted=target.origin in trusted))
            if isinstance(answer, EncodedImage):
                return answer
            target = target.follow(answer)
        raise ImageUnavailable(
            f"It takes more than {self._max_redirects} redirects to reach the picture; {target.host} is the next host.",
            hint="Use the URL that the redirects end at.",
        )

    async def _route(self, target: Target, *, trusted: bool) -> Proxy | list[str]:
        """Return the proxy for the host, or the addresses for a direct connection.

        Raises:
            AddressRefused: The host is not public.
            ImageUnavailable: The host cannot be found, or its proxy cannot be used.
        """
        if trusted:
            return [str(target.address)] if target.address is not None else await self._look_up(target)
        target.require_public_form()
        if target.address is not None and not is_public(target.address):
            raise AddressRefused(f"The host {target.host} is not on the public internet.")
        try:
            proxy = proxy_for(f"{target.scheme}://{target.host_header}")
        except UnusableProxy as error:
            raise ImageUnavailable(
                f"The host {target.host} cannot be reached: {error}.", hint="Correct it, and start the server again."
            ) from None
        if proxy is not None:
            target.require_public_name()
            return proxy
        if target.address is not None:
            return [str(target.address)]
        resolved = await self._look_up(target)
        addresses = [ip for ip in resolved if is_public(ip) or (self._trust_resolver and is_synthetic(ip))]
        if not addresses:
            raise _refusal(target.host, resolved)
        return addresses

    async def _look_up(self, target: Target) -> list[str]:
        try:
            addresses = await self._resolve(target.host, target.port)
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise ImageUnavailable(
                f"The host {target.host} cannot be found.", hint="Check the URL and the network (DNS), then try again."
            )
        return list(dict.fromkeys(addresses))

    async def _get(self, target: Target, route: Proxy | list[str]) -> EncodedImage | str:
        """Return the image, or the location of a redirect."""
        import httpx

        proxy = route if isinstance(route, Proxy) else None
        try:
            if isinstance(route, Proxy):
                response = await self._connector.open_through(route, target)
            else:
                response = await self._connector.open(target, route)
            try:
                return await self._read(target, response)
            finally:
                await response.aclose()
        # A TLS stream that breaks may raise an SSLError, which is an OSError.
        except (httpx.TransportError, OSError) as error:
            raise unavailable(target, error, proxy) from error
        except UnusableCertificates as error:
            raise ImageUnavailable(
                f"The host {target.host} cannot be reached: {error}.", hint="Correct it, and start the server again."
            ) from None

    async def _read(self, target: Target, response: httpx.Response) -> EncodedImage | str:
        status, headers = response.status_code, response.headers
        answered(status)
        if status in _REDIRECTS and headers.get("location"):
            return str(headers["location"])
        if status != 200:
            raise ImageUnavailable(f"The host {target.host} answered {status}.", hint=_HINTS.get(status), status=status)
        source = f"The answer of {target.host}"
        label = headers.get("content-encoding", "")
        if int(headers.get("content-length", "0")) > self._max_bytes:  # h11 has checked that it is a number
            raise too_many_bytes(source, self._max_bytes)
        body = decode_body(
            await self._read_body(response, source, label), label, max_bytes=self._max_bytes, source=source
        )
        encoded = image_from_bytes(body, source=source, max_pixels=self._max_pixels)
        # A stored copy would stay broken. Where the length was announced, a file without its end mark is all there is.
        is_all = "content-length" in headers and may_have_all_pixels(encoded.data, encoded.mime_type)
        if not is_all and is_truncated(encoded.data, encoded.mime_type):
            raise ImageUnavailable(f"{source} breaks off in the middle of the picture.")
        return encoded

    async def _read_body(self, response: httpx.Response, source: str, label: str) -> bytes:
        body = io.BytesIO()
        is_recognised = False
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as chunks:
            async for chunk in chunks:
                if body.tell() + len(chunk) > self._max_bytes:
                    raise too_many_bytes(source, self._max_bytes)
                body.write(chunk)
                if not is_recognised and body.tell() >= HEAD_BYTES:
                    if not is_encoded(body.getvalue(), label):
                        require_image(body.getvalue(), source=source)
                    is_recognised = True
        return body.getvalue()


def _refusal(host: str, addresses: list[str]) -> AddressRefused:
    """Return the error for a name without a public address, with its likely cause. It contains no address."""
    message = f"The host {host} is not on the public internet"
    if any(map(is_synthetic, addresses)):
        return AddressRefused(
            f"{message} by the DNS of this machine: its address is in 198.18.0.0/15. Proxy and VPN programs with "
            "fake-IP DNS (Clash, Surge, sing-box) do this.",
            hint="If you use one, set NANO_BANANA_TRUST_RESOLVER=true, or HTTPS_PROXY to the address of the program.",
        )
    if all(map(is_unspecified, addresses)):
        return AddressRefused(
            f"{message} by the DNS of this machine: a filter blocks its name.",
            hint="Allow the name in the filter (Pi-hole, AdGuard), or use a picture on another host.",
        )
    return AddressRefused(f"{message}: its name has private addresses only.")
