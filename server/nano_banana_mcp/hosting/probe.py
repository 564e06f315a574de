"""Whether the public URL leads to this server: asked over the network, as the image API would."""

from __future__ import annotations

import hmac
import secrets
from http import HTTPStatus

from nano_banana_mcp.hosting.webhook import PROBE_PREFIX, KeyRing, answer_to

LONGEST_SECONDS = 15.0


class NotReached(Exception):
    """The URL does not lead to this server. The text says what was found, and what to do."""


async def probe(public_url: str, keys: KeyRing) -> None:
    """Send a signed question to the webhook's address, which only a server with the same keys can answer.

    Raises:
        NotReached: no such answer came.
    """
    import anyio
    import httpx

    name = f"{PROBE_PREFIX}{secrets.token_hex(16)}"
    try:
        with anyio.fail_after(LONGEST_SECONDS):
            async with httpx.AsyncClient() as http:
                answer = await http.post(f"{public_url}/webhooks/{name}/{keys.sign(name)}", json={})
    except TimeoutError:
        raise NotReached(f"No answer within {LONGEST_SECONDS:g} s. Check the firewall and the proxy.") from None
    except httpx.ConnectError:
        raise NotReached(
            "No connection: the name does not resolve, the port is closed, or the certificate is not valid."
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NotReached(f"It cannot be asked ({type(error).__name__}).") from None
    if answer.is_redirect:
        raise NotReached(f"It answers with a redirect ({answer.status_code}): set the address that it leads to.")
    if answer.status_code in (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT):
        raise NotReached(f"A proxy answers {answer.status_code}: the server behind it is not running.")
    if answer.status_code != HTTPStatus.OK or not hmac.compare_digest(answer.content, answer_to(name, keys).encode()):
        raise NotReached(
            f"Something answers there ({answer.status_code}), but not this server with these keys: check that the "
            "proxy forwards /webhooks/, and that this command has the server's keys: the same state folder, or its "
            "NANO_BANANA_LEDGER_URL or NANO_BANANA_WEBHOOK_KEYS."
        )
