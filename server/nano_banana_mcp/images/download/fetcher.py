"""Fetches pictures from hosts nobody vouches for: ``fetch`` → ``_follow`` → ``_admit``, ``_get`` → ``_read``.

The rule above all: the address that was checked is the address that is connected to. So a name is resolved here,
once a hop, and the request goes to the address.
"""

from __future__ import annotations

import io
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

import anyio

from nano_banana_mcp import __version__
from nano_banana_mcp.common.tracing import answered, request_span
from nano_banana_mcp.images.download.connection import Connector, ConnectTo, unavailable
from nano_banana_mcp.images.download.ip_policy import is_public
from nano_banana_mcp.images.download.url_policy import Target
from nano_banana_mcp.images.errors import AddressRefused, ImageUnavailable, NotAnImage
from nano_banana_mcp.images.formats import HEAD_BYTES
from nano_banana_mcp.images.image import (
    MAX_BYTES,
    MAX_PIXELS,
    EncodedImage,
    image_from_bytes,
    is_truncated,
    require_image,
    too_many_bytes,
)

if TYPE_CHECKING:
    import ssl

    import httpx

USER_AGENT = f"Mozilla/5.0 (compatible; nano-banana-mcp/{__version__})"
"""Some hosts of results answer 403 to the default of a library."""

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""From a name and a port to addresses."""

Origins = Callable[[], Iterable[str]] | Iterable[str]

_REDIRECTS = {301, 302, 303, 307, 308}
_HINTS = {
    401: "The host refuses to hand it out: use a URL that needs no login.",
    403: "The host refuses to hand it out to this server, or the link has expired: use another URL.",
    404: "The link may have expired: results are kept for a limited time.",
    410: "The link may have expired: results are kept for a limited time.",
}


async def resolve_host(host: str, port: int) -> list[str]:
    """All addresses of a name, best first."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for *_, sockaddr in found]


class ImageFetcher:
    """Fetches pictures. Close it with :meth:`aclose`.

    Args:
        trusted_origins: Origins such as ``http://127.0.0.1:4567``, written exactly as in the URLs, that may be fetched
            from in spite of the rules; or a function that names them at each fetch. For the sandbox.
        max_bytes: The most bytes of one picture.
        max_pixels: The most pixels that one may claim to have.
        deadline_seconds: Longest time for one fetch: names, connections, redirects and all bytes.
        max_redirects: The most redirects to follow.
        connect_to: For tests alone: where connections to a checked address really go.
    """

    def __init__(
        self,
        *,
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
        """The picture at a URL.

        Raises:
            AddressRefused: the URL, or one that it redirects to, is not on the public internet.
            ImageUnavailable: the host did not hand it over, or not in time.
            NotAnImage: it is something else.
            ImageTooLarge: it has too many bytes or pixels.
        """
        target = Target.parse(url)
        try:
            # httpx bounds each read, not their sum: a body that drips needs the deadline around all of it.
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
                trusted = frozenset()  # nobody outside may send us back in
            addresses = await self._admit(target, trusted=target.origin in trusted)
            found = await self._get(target, addresses)
            if isinstance(found, EncodedImage):
                return found
            target = target.follow(found)
        raise ImageUnavailable(
            f"It takes more than {self._max_redirects} redirects to reach the picture; {target.host} is the next host.",
            hint="Use the URL that the redirects end at.",
        )

    async def _admit(self, target: Target, *, trusted: bool) -> list[str]:
        """The addresses that may be connected to: all of the host's, or none."""
        if not trusted:
            target.require_public_form()
        addresses = [str(target.address)] if target.address is not None else await self._look_up(target)
        if not trusted and not all(map(is_public, addresses)):
            raise AddressRefused(f"The host {target.host} is not on the public internet.")
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

    async def _get(self, target: Target, addresses: list[str]) -> EncodedImage | str:
        """The picture, or where it is said to be."""
        import httpx

        try:
            response = await self._connector.open(target, addresses)
            try:
                return await self._read(target, response)
            finally:
                await response.aclose()
        # A TLS stream that breaks in the middle may surface as it is, an SSLError, which is an OSError.
        except (httpx.TransportError, OSError) as error:
            raise unavailable(target, error) from error

    async def _read(self, target: Target, response: httpx.Response) -> EncodedImage | str:
        status, headers = response.status_code, response.headers
        answered(status)
        if status in _REDIRECTS and headers.get("location"):
            return str(headers["location"])
        if status != 200:
            raise ImageUnavailable(f"The host {target.host} answered {status}.", hint=_HINTS.get(status), status=status)
        source = f"The answer of {target.host}"
        if headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
            raise NotAnImage(f"{source} is compressed, which was not asked for.", hint="Use another URL.")
        if int(headers.get("content-length", "0")) > self._max_bytes:  # h11 has seen to it that it is a number
            raise too_many_bytes(source, self._max_bytes)
        encoded = image_from_bytes(await self._read_body(response, source), source=source, max_pixels=self._max_pixels)
        if is_truncated(encoded.data, encoded.mime_type):  # kept, it would stay broken for ever
            raise ImageUnavailable(f"{source} breaks off in the middle of the picture.")
        return encoded

    async def _read_body(self, response: httpx.Response, source: str) -> bytes:
        body = io.BytesIO()
        known = False
        async with aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_raw())) as chunks:
            async for chunk in chunks:
                if body.tell() + len(chunk) > self._max_bytes:
                    raise too_many_bytes(source, self._max_bytes)
                body.write(chunk)
                if not known and body.tell() >= HEAD_BYTES:
                    require_image(body.getvalue(), source=source)
                    known = True
        return body.getvalue()
