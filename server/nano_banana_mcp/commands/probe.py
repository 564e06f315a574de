"""A signed probe that shows whether the public URL leads to the running server."""

from __future__ import annotations

import hmac
import secrets
from http import HTTPStatus

import anyio
import httpx

from nano_banana_mcp.common.certificates import UnusableCertificates, tls_context
from nano_banana_mcp.common.proxies import UnusableProxy, proxy_for
from nano_banana_mcp.http.signing import PROBE_PREFIX, KeyRing, answer_to

MAX_SECONDS = 15.0
"""Timeout of the probe."""


class NotReached(Exception):
    """The URL does not lead to this server. The text says why, and what to do."""


async def probe(public_url: str, keys: KeyRing) -> None:
    """Send a signed probe to the webhook address. Only a server with the same keys can answer it.

    Raises:
        NotReached: The right answer did not come.
    """
    name = f"{PROBE_PREFIX}{secrets.token_hex(16)}"
    try:
        with anyio.fail_after(MAX_SECONDS):
            proxy = proxy_for(public_url)
            tls = tls_context() if public_url.startswith("https:") else False
            async with httpx.AsyncClient(
                proxy=None if proxy is None else proxy.for_httpx(), trust_env=False, verify=tls
            ) as http:
                answer = await http.post(f"{public_url}/webhooks/{name}/{keys.sign(name)}", json={})
    except TimeoutError:
        raise NotReached(f"No answer within {MAX_SECONDS:g} s. Check the firewall and the proxy.") from None
    except (UnusableProxy, UnusableCertificates) as error:
        raise NotReached(f"{error}.") from None
    except httpx.ConnectError:
        raise NotReached(
            "No connection: the name does not resolve, the port is closed, or the certificate is not valid."
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotReached(f"The request failed: {str(error) or 'the connection broke'}.") from None
    if answer.is_redirect:
        raise NotReached(
            f"It answers with a redirect ({answer.status_code}). Set the address that the redirect leads to."
        )
    if answer.status_code in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        raise NotReached(f"A proxy answers {answer.status_code}: the server behind it is not running.")
    if answer.status_code != HTTPStatus.OK or not hmac.compare_digest(answer.content, answer_to(name, keys).encode()):
        raise NotReached(
            f"Another server answers ({answer.status_code}), or this server with other keys. Check that the proxy "
            "forwards /webhooks/, and that this command has the keys of the server: the same state folder, "
            "NANO_BANANA_LEDGER_URL or NANO_BANANA_WEBHOOK_KEYS."
        )
