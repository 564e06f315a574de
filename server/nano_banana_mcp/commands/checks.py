"""The checks of ``doctor``: settings, key, network, folders, ledger, and what a team server needs."""

from __future__ import annotations

import os
import secrets
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from nano_banana_mcp.app import SANDBOX_KEY, open_api, quotas, stored_key_of
from nano_banana_mcp.commands.console import for_person, key_advice
from nano_banana_mcp.commands.findings import Finding
from nano_banana_mcp.commands.key import key_form_problem
from nano_banana_mcp.commands.probe import NotReached, probe
from nano_banana_mcp.common.files import private_folder, reason_of
from nano_banana_mcp.common.gather import gather
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, TaskNotFound
from nano_banana_mcp.generations.quotas import Limits
from nano_banana_mcp.http.auth.authentication import open_authentication
from nano_banana_mcp.http.auth.bind_policy import BindRefused, check_bind, is_authenticated
from nano_banana_mcp.http.auth.users_file import BadPrincipals, read
from nano_banana_mcp.http.signing import KeyRing, known_key_ring
from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import AddressRefused, ImageError, ImageUnavailable
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.image_store import stored_size
from nano_banana_mcp.settings import Settings, SettingsError, misspelt_variables
from nano_banana_mcp.storage import open_database

MAX_API_SECONDS = 15.0
"""Timeout of a request to the API, and of one to a host of images."""

IMAGE_HOST = "google.datas.systems"
"""Host of finished images, as seen in answers of the API; checked while the ledger has no image of its own."""


async def examine(settings: Settings, *, has_public_url: bool = False) -> list[Finding]:
    """All checks but those of the hosts, in the order in which a person should correct them.

    Args:
        has_public_url: Whether to check that NANO_BANANA_PUBLIC_URL leads to the running server.
    """
    in_thread = anyio.to_thread.run_sync
    groups = await gather(
        [
            partial(in_thread, _key, settings),
            partial(_api, settings),
            partial(_image_host, settings),
            partial(in_thread, _local, settings),
            partial(_issuer, settings),
        ]
    )
    findings = [finding for group in groups for finding in group]
    public_url = [await _public_url(settings)] if has_public_url else []
    return [*map(_misspelt, misspelt_variables()), *findings, *_team(settings), _limits(settings), *public_url]


def _local(settings: Settings) -> list[Finding]:
    """What is on this machine, or in the database: the state folder, the ledger, images and folders."""
    state = [] if settings.ledger_url else [_state_folder(settings)]
    is_usable = all(finding.is_good for finding in state)
    ledger = [_ledger(settings)] if is_usable else []
    images = [_stored_images(settings)] if is_usable else []
    return [*state, *ledger, *images, _output_folder(settings.output_dir), *map(_input_folder, settings.input_folders)]


def _misspelt(warning: str) -> Finding:
    return Finding(False, "settings", warning)


def _key(settings: Settings) -> list[Finding]:
    if settings.sandbox:
        return [Finding(True, "key", "not needed: the sandbox is on")]
    if settings.api_key is None and stored_key_of(settings)() is not None:
        return [Finding(True, "key", "in the keyring of this system")]
    if settings.key_problem is not None:
        return [Finding(False, "key", settings.key_problem, key_advice())]
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    has_usual_api = settings.base_url == Settings.model_fields["base_url"].default
    if has_usual_api and (problem := key_form_problem(settings, key)):
        return [Finding(False, "key", f"DEFAPI_API_KEY is wrong. {problem}")]
    return [Finding(True, "key", "DEFAPI_API_KEY is set")]


async def _api(settings: Settings) -> list[Finding]:
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(open_api(settings))
        # Without a key the API can still be reached: it then answers that the key is wrong.
        timeout_seconds = min(MAX_API_SECONDS, settings.timeout_seconds)
        key = api.key or await anyio.to_thread.run_sync(stored_key_of(settings))
        client = DefapiClient(api.base_url, key or SANDBOX_KEY, timeout_seconds=timeout_seconds)
        stack.push_async_callback(client.aclose)
        reached = Finding(True, "network", f"{api.base_url} answers", _about_plain_http(api.base_url))
        try:
            credits_left = await client.credits()
        except TaskNotFound:
            return [reached, Finding(True, "credits", "this API does not report them (no /api/user)")]
        except DefapiError as error:
            if error.status is None:
                return [Finding(False, "network", error.message, for_person(error.hint))]
            if key is None:
                return [reached]
            subject = "key" if error.status in (401, 403) else "credits"
            return [reached, Finding(False, subject, error.message, for_person(error.hint))]
        is_enough = float(credits_left) > 0
        advice = None if is_enough else "Add credits to your defapi account."
        return [reached, Finding(is_enough, "credits", f"{credits_left} left", advice)]


async def _image_host(settings: Settings) -> list[Finding]:
    host = None if settings.sandbox else _known_image_host(settings)
    if host is None:
        return []
    fetcher = ImageFetcher(trust_resolver=settings.trust_resolver, deadline_seconds=MAX_API_SECONDS)
    try:
        await fetcher.fetch(f"https://{host}/")
    except ImageError as error:
        if isinstance(error, AddressRefused) or (isinstance(error, ImageUnavailable) and error.status is None):
            return [Finding(False, "image host", error.message, for_person(error.hint))]
    finally:
        await fetcher.aclose()
    return [Finding(True, "image host", f"{host} answers: finished pictures can be downloaded")]


def _known_image_host(settings: Settings) -> str | None:
    """The host of the newest image in the ledger, or the usual one; None for a stand-in of the API on this machine."""
    try:
        ledger = open_database(settings)
        generations = ledger.history(limit=50)
        ledger.close()
    except LedgerError:
        generations = []
    urls = (urlsplit(image.url or "") for generation in generations for image in generation.images)
    hosts = [url.hostname for url in urls if url.scheme == "https" and url.hostname]
    is_local = urlsplit(settings.base_url).hostname in LOOPBACK_HOSTS
    return hosts[0] if hosts else None if is_local else IMAGE_HOST


def _about_plain_http(base_url: str) -> str | None:
    parts = urlsplit(base_url)
    if parts.scheme == "http" and parts.hostname not in LOOPBACK_HOSTS:
        return "Warning: others can read and change plain http on its way. Use https."
    return None


async def _public_url(settings: Settings) -> Finding:
    if settings.public_url is None:
        advice = "Set NANO_BANANA_PUBLIC_URL, or pass it: doctor --public-url https://pictures.example.org"
        return Finding(False, "public URL", "it is not set, so the API cannot call back", advice)
    try:
        keys = known_key_ring(settings)
    except (LedgerError, SettingsError, OSError) as error:
        reason = error.for_operator if isinstance(error, LedgerError) else str(error)
        return Finding(False, "public URL", "it cannot be checked: the webhook's key cannot be read", reason)
    try:
        # Even without the server's key, the probe shows whether any server answers.
        await probe(settings.public_url, keys or KeyRing([secrets.token_bytes(32)]))
    except NotReached as error:
        return Finding(False, "public URL", f"{settings.public_url} does not lead to this server", str(error))
    text = f"{settings.public_url} leads to this server"
    return Finding(True, "public URL", text, _about_plain_http(settings.public_url))


def _state_folder(settings: Settings) -> Finding:
    try:
        folder = settings.state_path
    except SettingsError as error:
        return Finding(False, "state folder", str(error))
    try:
        private_folder(folder)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        advice = "Set NANO_BANANA_STATE_DIR to a folder that you can write to."
        return Finding(False, "state folder", f"{folder} cannot be written to: {reason_of(error)}", advice)
    return Finding(True, "state folder", f"{folder} can be written to")


def _stored_images(settings: Settings) -> Finding:
    try:
        folder = settings.state_path / "images"
    except SettingsError as error:
        return Finding(False, "images", str(error))
    images, size_bytes = stored_size(folder)
    limit = "no limit" if settings.keep_megabytes is None else f"limit {settings.keep_megabytes:g} MB"
    text = f"{images} {'picture' if images == 1 else 'pictures'}, {size_bytes / 1e6:.1f} MB ({limit}) in {folder}"
    return Finding(True, "images", f"{text}; the database has those without a URL" if settings.ledger_url else text)


def _output_folder(folder: Path | None) -> Finding:
    if folder is None:
        return Finding(True, "output folder", "not set: finished pictures are not saved (NANO_BANANA_OUTPUT_DIR)")
    try:
        OutputFolder(folder).check()
    except OSError as error:
        advice = "Set NANO_BANANA_OUTPUT_DIR to a folder that you can write to. Until then pictures are not saved."
        return Finding(False, "output folder", f"{folder} cannot be written to: {reason_of(error)}", advice)
    return Finding(True, "output folder", f"{folder} can be written to: finished pictures are saved there")


def _input_folder(folder: Path) -> Finding:
    try:
        with os.scandir(folder):
            pass
    except OSError as error:
        advice = "NANO_BANANA_INPUT_DIRS names it. Correct the path, or remove it."
        return Finding(False, "input folder", f"{folder} cannot be read: {reason_of(error)}", advice)
    return Finding(True, "input folder", f"{folder}: reference pictures may be read from it over stdio")


def _ledger(settings: Settings) -> Finding:
    try:
        ledger = open_database(settings)
        text = ledger.check()
        ledger.close()
    except LedgerError as error:
        advice = "Over stdio the server still starts, but forgets its requests when it ends."
        if settings.ledger_url:
            advice = "The server makes no picture until it can use the ledger, so that nothing paid for is lost."
        return Finding(False, "ledger", error.for_operator, advice)
    return Finding(True, "ledger", text)


async def _issuer(settings: Settings) -> list[Finding]:
    if settings.oauth_issuer is None:
        return []
    from nano_banana_mcp.http.auth.jwks import IssuerKeys  # needs cryptography, which stays unloaded without OAuth

    keys = IssuerKeys(settings.oauth_issuer, settings.oauth_jwks_url)
    problem = await anyio.to_thread.run_sync(keys.problem, abandon_on_cancel=True)
    if problem is not None:
        advice = "Callers with its tokens are refused until it answers. Check NANO_BANANA_OAUTH_ISSUER and the network."
        return [Finding(False, "OAuth issuer", f"{settings.oauth_issuer}: {problem}", advice)]
    return [Finding(True, "OAuth issuer", f"{settings.oauth_issuer} publishes its keys")]


def _team(settings: Settings) -> list[Finding]:
    """What `serve --http` would refuse to start with, and the tokens file."""
    findings = []
    try:
        open_authentication(settings)
        warnings = check_bind(settings)
    except BadPrincipals as error:
        findings.append(Finding(False, "tokens file", str(error)))
    except (SettingsError, BindRefused) as error:
        findings.append(Finding(False, "serve --http", str(error)))
    else:
        findings += [Finding(True, "serve --http", f"warning: {warning}") for warning in warnings]
        if settings.tokens_file is not None:
            findings.append(_tokens(settings, settings.tokens_file))
    return findings


def _tokens(settings: Settings, file: Path) -> Finding:
    principals = read(file).principals.values()
    tokens = sum(len(principal.tokens) for principal in principals)
    is_good = tokens > 0 or settings.oauth_issuer is not None
    advice = None if is_good else "Every call is refused. Create a token: nano-banana-mcp token create NAME"
    return Finding(
        is_good,
        "tokens file",
        f"{_counted(tokens, 'token')} of {_counted(len(principals), 'principal')} in {file}",
        advice,
    )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _limits(settings: Settings) -> Finding:
    limits = quotas(settings, authenticated=is_authenticated(settings))
    groups = {"each caller": limits.limits_of(""), "all together": limits.overall}
    parts = [f"{who}: {text}" for who, group in groups.items() if (text := _limits_in_words(group))]
    return Finding(True, "limits", "; ".join(parts) or "none (NANO_BANANA_CREDITS_PER_DAY limits what a day can cost)")


def _limits_in_words(limits: Limits) -> str:
    values = {
        "calls a minute": limits.calls_per_minute,
        "unfinished pictures": limits.open_tasks,
        "credits a day": limits.credits_per_day,
    }
    return ", ".join(f"{value} {unit}" for unit, value in values.items() if value is not None)
