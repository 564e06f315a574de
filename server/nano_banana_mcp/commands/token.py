"""``token``: callers of the server over HTTP. A token is shown once, on stdout; everything else goes to stderr."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from getpass import getpass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from nano_banana_mcp.commands.console import print_json, refuse
from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.http.auth.users_file import (
    NAME,
    OAUTH_PREFIXES,
    BadPrincipals,
    HashedToken,
    OwnLimits,
    Principal,
    digest,
    edited,
    is_principal,
    is_sendable,
    new_token,
    read,
)
from nano_banana_mcp.settings import Settings

ID_DIGITS = 8


class Refused(ValueError):
    """The command cannot be done. The text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)
    create = actions.add_parser("create", help="make a token, for a new principal or one more for an existing one")
    create.add_argument("--api-key", action="store_true", help="ask for the principal's own key for the image API")
    listing = actions.add_parser("list", help="list the principals and their tokens")
    listing.add_argument("--json", action="store_true", help="print the list as JSON")
    revoke = actions.add_parser("revoke", help="remove all tokens and the key of a principal")
    revoke.add_argument("--id", metavar="ID", help="only the token that `list` shows under this id")
    key = actions.add_parser("key", help="set a principal's own key for the image API; oauth:… for one of the issuer")
    key.add_argument("--remove", action="store_true", help="use the server's key again")
    for name, action in actions.choices.items():
        if name != "list":
            action.add_argument("name", metavar="NAME", help="the principal")
        action.add_argument("--file", type=Path, metavar="FILE", help="default: NANO_BANANA_TOKENS_FILE")
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Do the action. Returns the exit code."""
    file = (arguments.file or settings.tokens_file or settings.state_path / "tokens.json").expanduser().absolute()
    is_new = not file.exists()
    try:
        if is_new and arguments.action in ("create", "key"):
            _check_folder(settings, file)
        if arguments.action == "list":
            _list(file, as_json=arguments.json)
        elif arguments.action == "create":
            _create(file, arguments.name, own_key=arguments.api_key)
            if is_new:
                _print(f"Created the file {file}.")
            _print_usage(settings, file)
        elif arguments.action == "revoke":
            _revoke(file, arguments.name, arguments.id)
        else:
            _set_key(file, arguments.name, remove=arguments.remove)
    except (Refused, BadPrincipals) as error:
        return refuse("token", error)
    except OSError as error:
        return refuse("token", f"{file}: {reason_of(error)}")
    return 0


def _check_folder(settings: Settings, file: Path) -> None:
    """Refuse a new file in a missing folder, which is likely a typing error; the state folder is made when needed.

    Raises:
        Refused: The folder does not exist.
    """
    if not file.parent.is_dir() and file.parent != settings.state_path.absolute():
        raise Refused(f"there is no folder {file.parent} for {file.name}. Create the folder, or name another file")


def _create(file: Path, name: str, *, own_key: bool) -> None:
    if not NAME.fullmatch(name):
        raise Refused("a name has 1 to 64 letters A-Z a-z, digits and . _ @ -")
    key = _ask_for_key(name) if own_key else None
    token = new_token()
    with edited(file) as users:
        principal = users.principals.setdefault(name, Principal())
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        principal.tokens.append(HashedToken(sha256=digest(token), created_at=created_at))
        if key is not None:
            principal.api_key = key
        number = len(principal.tokens)
    sys.stdout.write(f"{token}\n")
    sys.stdout.flush()
    others = f" {name} has {number} tokens now, and all are valid." if number > 1 else ""
    _print(f"This is {name}'s token. It is never shown again; only its hash is kept.{others}")


def _list(file: Path, *, as_json: bool) -> None:
    if not file.exists():
        raise Refused(f"there is no file {file}; `nano-banana-mcp token create NAME` makes it")
    principals = [_as_dict(name, principal) for name, principal in sorted(read(file).principals.items())]
    if as_json:
        print_json(principals)
        return
    for item in principals:
        tokens = ", ".join(f"{token['id']} ({token['created_at'] or 'no date'})" for token in item["tokens"])
        key = "  own API key" if item["own_api_key"] else ""
        limits = "  own limits" if item["limits"] else ""
        sys.stdout.write(f"{item['name']}  {tokens or 'no tokens'}{key}{limits}\n")


def _as_dict(name: str, principal: Principal) -> dict[str, Any]:
    """A principal as `token list --json` shows it: no hash, no key."""
    return {
        "name": name,
        "tokens": [{"id": token.sha256[:ID_DIGITS], "created_at": token.created_at} for token in principal.tokens],
        "own_api_key": principal.api_key is not None,
        "limits": principal.limits.model_dump(mode="json", exclude_none=True),
    }


def _revoke(file: Path, name: str, token_id: str | None) -> None:
    if not file.exists():
        raise Refused(f"there is no file {file}")
    with edited(file) as users:
        principal = _principal(users.principals, name)
        if token_id is not None:
            matches = [token for token in principal.tokens if token.sha256.startswith(token_id.lower())]
            if len(token_id) < ID_DIGITS or len(matches) != 1:
                raise Refused(f"{name} has no token {token_id}; `nano-banana-mcp token list` shows the ids")
            principal.tokens.remove(matches[0])
        elif principal.limits != OwnLimits():
            # A principal that is created again has its limits again.
            users.principals[name] = Principal(limits=principal.limits)
        else:
            del users.principals[name]
    what = f"The token {token_id} of {name} is" if token_id else f"The tokens and the key of {name} are"
    _print(f"{what} removed: a running server refuses them from the next request on. The ledger keeps the requests.")


def _set_key(file: Path, name: str, *, remove: bool) -> None:
    if not is_principal(name):
        raise Refused("a name is that of a principal with a token, or oauth:SUBJECT for a caller of the OAuth issuer")
    key = None if remove else _ask_for_key(name)
    with edited(file) as users:
        if name.startswith(OAUTH_PREFIXES):
            users.principals.setdefault(name, Principal())
        principal = _principal(users.principals, name)
        principal.api_key = key
        if principal == Principal():
            del users.principals[name]
    _print(f"{name} uses {'the key of the server' if remove else 'a key of their own'} from the next request on.")


def _principal(principals: dict[str, Principal], name: str) -> Principal:
    if name not in principals:
        raise Refused(f"there is no principal {name}; `nano-banana-mcp token list` shows them")
    return principals[name]


def _ask_for_key(name: str) -> SecretStr:
    if sys.stdin.isatty():
        key = getpass(f"API key of {name} (not shown): ", sys.stderr).strip()
    else:
        key = sys.stdin.readline().strip()
    if not is_sendable(key):
        raise Refused("there is no API key, or it contains characters that a key cannot have")
    return SecretStr(key)


def _print_usage(settings: Settings, file: Path) -> None:
    if settings.tokens_file == file:
        _print(f"The server that runs with NANO_BANANA_TOKENS_FILE={file} accepts it now.")
    else:
        _print(f"Start the server with NANO_BANANA_TOKENS_FILE={file}")


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")
