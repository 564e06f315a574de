"""``key``: the API key in the keyring of this system. A running server uses a changed key from the next request on."""

from __future__ import annotations

import argparse
import sys
from getpass import getpass

from pydantic import SecretStr

from nano_banana_mcp.commands.console import USAGE_ERROR, refuse
from nano_banana_mcp.common.key_store import NoKeyring, check_keyring, remove_key, store_key, stored_key
from nano_banana_mcp.common.text import sentence
from nano_banana_mcp.settings import SITE, Settings

ACTIONS = {
    "set": "Ask for the key, or read it from standard input, and store it.",
    "remove": "Remove the stored key.",
    "show": "Say where the key comes from. The key itself is never shown.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    for name, summary in ACTIONS.items():
        actions.add_parser(name, help=summary, description=summary)
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Do the action. Returns the exit code."""
    if arguments.action == "show":
        sys.stdout.write(f"{key_source(settings)}\n")
        return 0
    try:
        check_keyring()
        if arguments.action == "remove":
            sys.stdout.write("The key is removed.\n" if remove_key() else "No key is stored.\n")
            return 0
        key = ask_for_key(f"API key, from {SITE} (not shown): ")
        if problem := key_form_problem(settings, key):
            return refuse("key", problem, USAGE_ERROR)
        store_key(SecretStr(key))
    except NoKeyring as error:
        reason = f"{sentence(str(error))} Set DEFAPI_API_KEY instead, or let `install` store the key in its entry"
        return refuse("key", reason)
    sys.stdout.write("The key is stored. A running server uses it from its next request on.\n")
    if settings.api_key is not None:
        sys.stdout.write("DEFAPI_API_KEY is set as well, and wins over the stored key.\n")
    return 0


def ask_for_key(question: str) -> str:
    """The key that a person types, or the first line of standard input; empty without one."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    try:
        return getpass(question, sys.stderr).strip()
    except EOFError:  # Ctrl-D
        return ""


def key_form_problem(settings: Settings, key: str, variable: str = "DEFAPI_API_KEY") -> str | None:
    """Why this cannot be a key of the API of ``settings``; None if it can."""
    problem = settings.model_copy(update={"api_key": SecretStr(key)}).key_problem
    if problem is not None:
        problem = problem.replace("DEFAPI_API_KEY", variable)
    elif not key.startswith("dk-") or len(key) == len("dk-"):
        problem = "This is not an API key: a key begins with dk-."
    return None if problem is None else f"{problem} Copy the key from {SITE}"


def key_source(settings: Settings) -> str:
    """Where the key comes from, in a sentence."""
    if settings.api_key is not None:
        return settings.key_problem or "DEFAPI_API_KEY is set."
    if stored_key() is not None:
        return "The key is in the keyring of this system."
    return f"No API key is set. Get one at {SITE}."
