"""How the entry of a host gets the API key, or the token of a remote server."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from getpass import getpass

from pydantic import SecretStr

from nano_banana_mcp.commands.key import key_form_problem
from nano_banana_mcp.common.key_store import NoKeyring, check_keyring, stored_key
from nano_banana_mcp.install.errors import Refused
from nano_banana_mcp.install.hosts import KEY, TOKEN, Host, How, Secret
from nano_banana_mcp.settings import EXAMPLE_KEY, SITE, Settings


@dataclass(frozen=True, slots=True)
class EntryKey:
    """Where the server of an entry gets its key.

    Attributes:
        secret: What the entry holds; None for nothing new.
        is_in_keyring: Whether the server takes the key from the keyring, so that the entry must hold none.
        to_store: The key to store in the keyring when the entry is written; None for none.
    """

    secret: Secret | None = None
    is_in_keyring: bool = False
    to_store: SecretStr | None = None


def choose_key(host: Host, settings: Settings, arguments: argparse.Namespace, *, has_key: bool) -> EntryKey:
    """Choose by the options, the host, the environment and the keyring; a person is asked if there is no key.

    Args:
        host: The host that has the entry.
        settings: The settings of this command.
        arguments: The command line of ``install``.
        has_key: Whether the present entry has a key.

    Raises:
        Refused: There is no key, or none of a possible form.
    """
    if arguments.no_key or (not arguments.url and (settings.sandbox or arguments.env_file)):
        return EntryKey()
    variable = TOKEN if arguments.url else KEY
    value = _in_environment(settings, variable)
    if value:
        _check_form(settings, value, variable)
    may_use_keyring = not (arguments.url or arguments.store_key or arguments.key_from_env)
    if may_use_keyring and not value and stored_key() is not None:
        return EntryKey(is_in_keyring=True)
    if how := _reference(host, arguments, value):
        return EntryKey(Secret(variable, how))
    if not value and has_key and not arguments.store_key:
        return EntryKey()  # the present key stays
    value = value or (EXAMPLE_KEY if arguments.dry_run else _asked_for(settings, variable))
    if may_use_keyring and _has_keyring():
        return EntryKey(is_in_keyring=True, to_store=SecretStr(value))
    return EntryKey(Secret(variable, "stored", value))


def _reference(host: Host, arguments: argparse.Namespace, value: str) -> How | None:
    """How the host gets the key itself; None if it does not."""
    if arguments.key_from_env and host.reference is None:
        raise Refused(f"{host.title} does not read variables; leave out --key-from-env")
    if arguments.key_from_env:
        return "reference"
    if arguments.store_key or host.prefers == "stored":
        return None
    if host.prefers == "input":
        return "input"
    return "reference" if value or host.fills_in_itself else None


def _asked_for(settings: Settings, variable: str) -> str:
    value = ""
    if sys.stdin.isatty():
        if variable == KEY:
            sys.stdout.write(f"Get a key at {SITE}.\n")
        with suppress(EOFError):  # Ctrl-D: no key
            value = getpass(
                "API key (not shown): " if variable == KEY else "Token for the server (not shown): "
            ).strip()
    if not value:
        source = f" Get one at {SITE}." if variable == KEY else ""
        raise Refused(f"there is no key.{source} Set {variable} for this command, or add --no-key or --sandbox")
    _check_form(settings, value, variable)
    return value


def _check_form(settings: Settings, value: str, variable: str) -> None:
    if variable == KEY:
        problem = key_form_problem(settings, value)
    else:
        problem = settings.model_copy(update={"api_key": SecretStr(value)}).key_problem
    if problem:
        raise Refused(problem.replace(KEY, variable))


def _in_environment(settings: Settings, variable: str) -> str:
    if variable == TOKEN:
        return os.environ.get(TOKEN, "").strip()
    return settings.api_key.get_secret_value().strip() if settings.api_key else ""


def _has_keyring() -> bool:
    try:
        check_keyring()
    except NoKeyring:
        return False
    return True
