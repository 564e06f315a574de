"""``doctor``: what works here, what does not, and how to set up a host."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from nano_banana_mcp import __version__
from nano_banana_mcp.app import SANDBOX_KEY, reached_api
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, TaskNotFound
from nano_banana_mcp.install.formats import toml as tomltext
from nano_banana_mcp.install.hosts import HOSTS, KEY, NAME, Secret, Server, input_of
from nano_banana_mcp.install.paths import Machine, command
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.settings import EXAMPLE_KEY, Settings
from nano_banana_mcp.storage import open_database

if TYPE_CHECKING:
    from nano_banana_mcp.http.signing import KeyRing


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    good: bool
    what: str
    words: str
    advice: str | None = None


def run(settings: Settings, *, public_url: bool = False) -> int:
    """Print the report and the configurations. Returns 0 where everything is well, else 1.

    Args:
        public_url: Whether to check that the public URL leads to a running server, too.
    """
    sys.stdout.write(f"nano-banana-mcp {__version__} on Python {sys.version.split()[0]}\n\n")
    findings = anyio.run(examine, settings)
    if public_url:
        findings.append(anyio.run(_public_url, settings))
    for finding in findings:
        sys.stdout.write(f"{'ok  ' if finding.good else 'FAIL'}  {finding.what:<13} {finding.words}\n")
        if finding.advice:
            sys.stdout.write(f"{'':19} {finding.advice}\n")
    sys.stdout.write("\nTo use it: nano-banana-mcp install HOST. By hand, put this into your host's configuration:\n")
    start = [*command(), *(["--sandbox"] if settings.sandbox else [])]
    for host, text in configurations(start).items():
        sys.stdout.write(f"\n── {host}\n{text}\n")
    return 0 if all(finding.good for finding in findings) else 1


async def examine(settings: Settings) -> list[Finding]:
    """All checks, in the order in which a person should mend them."""
    state = [] if settings.ledger_url else [_state_folder(settings.state_path)]
    ledger = [_ledger(settings)] if all(finding.good for finding in state) else []
    folders = [_output_folder(settings.output_dir), *map(_input_folder, settings.input_folders)]
    return [_key(settings), *await _api(settings), *state, *ledger, *folders]


def _key(settings: Settings) -> Finding:
    if settings.sandbox:
        return Finding(True, "key", "not needed: the sandbox is on")
    if settings.key_problem is not None:
        advice = "Set DEFAPI_API_KEY, or try the server without one: nano-banana-mcp --sandbox"
        return Finding(False, "key", settings.key_problem, advice)
    return Finding(True, "key", "DEFAPI_API_KEY is set")


async def _api(settings: Settings) -> list[Finding]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(reached_api(settings))
        # Without a key the API can still be reached: it then answers that the key is wrong.
        client = DefapiClient(api.base_url, api.key or SANDBOX_KEY, timeout_seconds=min(15.0, settings.timeout_seconds))
        stack.push_async_callback(client.aclose)
        reached = Finding(True, "network", f"{api.base_url} answers", _about_plain_http(api.base_url))
        try:
            credits_left = await client.credits()
        except TaskNotFound:
            return [reached, Finding(True, "credits", "this API does not tell them (no /api/user)")]
        except DefapiError as error:
            if error.status is None:
                return [Finding(False, "network", error.message, error.hint)]
            if api.key is None:
                return [reached]
            refused = "key" if error.status in (401, 403) else "credits"
            return [reached, Finding(False, refused, error.message, error.hint)]
        enough = float(credits_left) > 0
        return [reached, Finding(enough, "credits", f"{credits_left} left", None if enough else "Add credits.")]


def _about_plain_http(base_url: str) -> str | None:
    from urllib.parse import urlsplit

    parts = urlsplit(base_url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        return "Careful: plain http can be read, and changed, on its way. Use https."
    return None


async def _public_url(settings: Settings) -> Finding:
    from nano_banana_mcp.http.signing import KeyRing, known_key_ring

    if settings.public_url is None:
        advice = "Set NANO_BANANA_PUBLIC_URL, or name it: doctor --public-url https://pictures.example.org"
        return Finding(False, "public URL", "it is not set, so the API cannot call back", advice)
    try:
        known = known_key_ring(settings)
    except (LedgerError, OSError) as error:
        why = error.for_operator if isinstance(error, LedgerError) else str(error)
        return Finding(False, "public URL", "it cannot be checked: the webhook's key cannot be read", why)
    try:
        # Without the server's key it can still be seen whether anything answers.
        await probe(settings.public_url, known or KeyRing([secrets.token_bytes(32)]))
    except NotReached as error:
        return Finding(False, "public URL", f"{settings.public_url} does not lead to this server", str(error))
    words = f"{settings.public_url} leads to this server"
    return Finding(True, "public URL", words, _about_plain_http(settings.public_url))


def _state_folder(folder: Path) -> Finding:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"doctor")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        advice = "Set NANO_BANANA_STATE_DIR to a folder that you can write to."
        return Finding(False, "state folder", f"{folder} cannot be written to: {error.strerror}", advice)
    return Finding(True, "state folder", f"{folder} can be written to")


def _output_folder(folder: Path | None) -> Finding:
    from nano_banana_mcp.images.saving.output_folder import OutputFolder

    if folder is None:
        return Finding(True, "output folder", "not set: finished pictures are not saved (NANO_BANANA_OUTPUT_DIR)")
    try:
        OutputFolder(folder).check()
    except OSError as error:
        advice = "Set NANO_BANANA_OUTPUT_DIR to a folder that you can write to. Until then pictures are not saved."
        return Finding(False, "output folder", f"{folder} cannot be written to: {error.strerror}", advice)
    return Finding(True, "output folder", f"{folder} can be written to: finished pictures are saved there")


def _input_folder(folder: Path) -> Finding:
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        advice = "It is in NANO_BANANA_INPUT_DIRS, for reference pictures."
        return Finding(False, "input folder", f"{folder} cannot be read: {error.strerror}", advice)
    return Finding(True, "input folder", f"{folder}: reference pictures may be read from it over stdio")


def _ledger(settings: Settings) -> Finding:
    try:
        ledger = open_database(settings)
        words = ledger.check()
        ledger.close()
    except LedgerError as error:
        advice = "The server still works, but forgets its pictures when it ends."
        if settings.ledger_url:
            advice = "No picture is made until it can be used: what is paid for must not be lost."
        return Finding(False, "ledger", error.for_operator, advice)
    return Finding(True, "ledger", words)


MAX_SECONDS = 15.0


class NotReached(Exception):
    """The URL does not lead to this server. The text says what was found, and what to do."""


async def probe(public_url: str, keys: KeyRing) -> None:
    """Send a signed question to the webhook's address, which only a server with the same keys can answer.

    Raises:
        NotReached: no such answer came.
    """
    import httpx

    from nano_banana_mcp.http.signing import PROBE_PREFIX, answer_to

    name = f"{PROBE_PREFIX}{secrets.token_hex(16)}"
    try:
        with anyio.fail_after(MAX_SECONDS):
            async with httpx.AsyncClient() as http:
                answer = await http.post(f"{public_url}/webhooks/{name}/{keys.sign(name)}", json={})
    except TimeoutError:
        raise NotReached(f"No answer within {MAX_SECONDS:g} s. Check the firewall and the proxy.") from None
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


def configurations(start: list[str]) -> dict[str, str]:
    """For each host: where its configuration is and what to put there, as text."""
    machine = Machine.here()
    shown = {}
    for host in HOSTS.values():
        secret = Secret(KEY, "input" if host.prefers == "input" else "stored", EXAMPLE_KEY)
        entry = host.entry(host, NAME, Server(tuple(start), None, secret))
        value: dict[str, object] = {host.table: {NAME: entry}}
        if secret.how == "input":
            value["inputs"] = [input_of(secret)]
        if host.form == "toml":
            text = tomltext.put("", (host.table, NAME), entry).rstrip()
        elif host.form == "yaml":
            import yaml

            text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=float("inf")).rstrip()
        else:
            text = json.dumps(value, indent=2, ensure_ascii=False)
        shown[f"{host.title} ({host.place(machine)})"] = text
    return shown
