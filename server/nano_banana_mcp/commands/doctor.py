"""``doctor``: checks the key, the network, the credits and the local folders, and prints host configurations."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from nano_banana_mcp import __version__
from nano_banana_mcp.app import SANDBOX_KEY, reached_api
from nano_banana_mcp.commands.console import FAILED, refuse
from nano_banana_mcp.commands.probe import NotReached, probe
from nano_banana_mcp.common.files import private_folder, reason_of
from nano_banana_mcp.common.urls import LOOPBACK_HOSTS
from nano_banana_mcp.defapi.client import DefapiClient
from nano_banana_mcp.defapi.errors import DefapiError, TaskNotFound
from nano_banana_mcp.http.signing import KeyRing, known_key_ring
from nano_banana_mcp.images.download.fetcher import ImageFetcher
from nano_banana_mcp.images.errors import AddressRefused, ImageError, ImageUnavailable
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.install.configurations import configurations
from nano_banana_mcp.install.errors import Refused
from nano_banana_mcp.install.launch import command
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.image_store import stored_size
from nano_banana_mcp.settings import EXAMPLE_KEY, Settings, SettingsError, misspelt_variables
from nano_banana_mcp.storage import open_database

MAX_API_SECONDS = 15.0
"""Timeout of a request to the API, and of one to a host of images."""

IMAGE_HOST = "google.datas.systems"
"""Host of finished images, as seen in answers of the API; checked while the ledger has no image of its own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    is_good: bool
    subject: str
    text: str
    advice: str | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "--public-url",
        nargs="?",
        const="",
        metavar="URL",
        help="check that this URL (default: NANO_BANANA_PUBLIC_URL) leads to the running server",
    )
    parser.set_defaults(run=run, overrides=("public_url",))


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print the report and the configurations. Returns 0 if all checks pass, else 1."""
    sys.stdout.write(f"nano-banana-mcp {__version__} on Python {sys.version.split()[0]}\n\n")
    findings = anyio.run(examine, settings)
    if arguments.public_url is not None:
        findings.append(anyio.run(_public_url, settings))
    for finding in findings:
        sys.stdout.write(f"{'ok  ' if finding.is_good else 'FAIL'}  {finding.subject:<13} {finding.text}\n")
        if finding.advice:
            sys.stdout.write(f"{'':19} {finding.advice}\n")
    start = [*command(), *(["--sandbox"] if settings.sandbox else [])]
    try:
        texts = configurations(start, EXAMPLE_KEY)
    except Refused as error:
        return refuse("doctor", error)
    sys.stdout.write("\nTo use it: nano-banana-mcp install HOST. By hand, put this into your host's configuration:\n")
    for host, text in texts.items():
        sys.stdout.write(f"\n── {host}\n{text}\n")
    return 0 if all(finding.is_good for finding in findings) else FAILED


async def examine(settings: Settings) -> list[Finding]:
    """All checks, in the order in which a person should fix them."""
    state = [] if settings.ledger_url else [_state_folder(settings)]
    is_usable = all(finding.is_good for finding in state)
    ledger = [_ledger(settings)] if is_usable else []
    images = [_stored_images(settings)] if state and is_usable else []
    folders = [*images, _output_folder(settings.output_dir), *map(_input_folder, settings.input_folders)]
    network = [*await _api(settings), *await _image_host(settings)]
    return [*map(_misspelt, misspelt_variables()), _key(settings), *network, *state, *ledger, *folders]


def _misspelt(warning: str) -> Finding:
    return Finding(False, "settings", warning)


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
        timeout_seconds = min(MAX_API_SECONDS, settings.timeout_seconds)
        client = DefapiClient(api.base_url, api.key or SANDBOX_KEY, timeout_seconds=timeout_seconds)
        stack.push_async_callback(client.aclose)
        reached = Finding(True, "network", f"{api.base_url} answers", _about_plain_http(api.base_url))
        try:
            credits_left = await client.credits()
        except TaskNotFound:
            return [reached, Finding(True, "credits", "this API does not report them (no /api/user)")]
        except DefapiError as error:
            if error.status is None:
                return [Finding(False, "network", error.message, error.hint)]
            if api.key is None:
                return [reached]
            subject = "key" if error.status in (401, 403) else "credits"
            return [reached, Finding(False, subject, error.message, error.hint)]
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
            return [Finding(False, "image host", error.message, error.hint)]
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
    folder = settings.state_path / "images"
    images, size_bytes = stored_size(folder)
    limit = "no limit" if settings.keep_megabytes is None else f"limit {settings.keep_megabytes:g} MB"
    text = f"{images} {'picture' if images == 1 else 'pictures'}, {size_bytes / 1e6:.1f} MB ({limit}) in {folder}"
    return Finding(True, "images", text)


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
