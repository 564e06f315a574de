"""``token``: who may call over HTTP. A token is shown once, on stdout; all else goes to stderr."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

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
    """It will not be done. The text says why."""


def run(settings: Settings, action: str, file: Path, arguments: argparse.Namespace) -> int:
    """Do it. Returns the exit code."""
    try:
        if action == "list":
            _list(file)
        elif action == "create":
            _create(file, arguments.name, own_key=arguments.api_key)
            _say_how_to_use(settings, file)
        elif action == "revoke":
            _revoke(file, arguments.name, arguments.id)
        else:
            _set_key(file, arguments.name, remove=arguments.remove)
    except (Refused, BadPrincipals) as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{file}: {error.strerror}")
    return 0


def _create(file: Path, name: str, *, own_key: bool) -> None:
    if not NAME.fullmatch(name):
        raise Refused("a name is 1 to 64 of the letters A-Z a-z, digits and . _ @ -")
    key = _ask_for_key(name) if own_key else None
    token = new_token()
    with edited(file) as held:
        principal = held.principals.setdefault(name, Principal())
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        principal.tokens.append(HashedToken(sha256=digest(token), created_at=created_at))
        if key is not None:
            principal.api_key = key
        number = len(principal.tokens)
    sys.stdout.write(f"{token}\n")
    sys.stdout.flush()
    others = f" {name} has {number} tokens now, and all are valid." if number > 1 else ""
    _say(f"This is {name}'s token. It is never shown again; only its hash is kept.{others}")


def _list(file: Path) -> None:
    if not file.exists():
        raise Refused(f"there is no file {file}; `nano-banana-mcp token create NAME` makes it")
    for name, principal in sorted(read(file).principals.items()):
        tokens = ", ".join(
            f"{token.sha256[:ID_DIGITS]} ({token.created_at or 'no date'})" for token in principal.tokens
        )
        key = "  own API key" if principal.api_key else ""
        limits = "  own limits" if principal.limits != OwnLimits() else ""
        sys.stdout.write(f"{name}  {tokens or 'no tokens'}{key}{limits}\n")


def _revoke(file: Path, name: str, token_id: str | None) -> None:
    if not file.exists():
        raise Refused(f"there is no file {file}")
    with edited(file) as held:
        principal = _known(held.principals, name)
        if token_id is not None:
            gone = [token for token in principal.tokens if token.sha256.startswith(token_id.lower())]
            if len(token_id) < ID_DIGITS or len(gone) != 1:
                raise Refused(f"{name} has no token {token_id}; `nano-banana-mcp token list` shows the ids")
            principal.tokens.remove(gone[0])
        elif principal.limits != OwnLimits():
            # If the name comes back, so should its limits.
            held.principals[name] = Principal(limits=principal.limits)
        else:
            del held.principals[name]
    what = f"The token {token_id} of {name} is" if token_id else f"The tokens and the key of {name} are"
    _say(f"{what} gone: a running server refuses from the next request on. What was made stays in the ledger.")


def _set_key(file: Path, name: str, *, remove: bool) -> None:
    if not is_principal(name):
        raise Refused("a name is that of a token's owner, or oauth:SUBJECT for one whom the OAuth issuer vouches for")
    key = None if remove else _ask_for_key(name)
    with edited(file) as held:
        if name.startswith(OAUTH_PREFIXES):
            held.principals.setdefault(name, Principal())
        principal = _known(held.principals, name)
        principal.api_key = key
        if principal == Principal():
            del held.principals[name]
    _say(f"{name} uses {'the key of the server' if remove else 'a key of their own'} from the next request on.")


def _known(principals: dict[str, Principal], name: str) -> Principal:
    if name not in principals:
        raise Refused(f"there is no principal {name}; `nano-banana-mcp token list` shows them")
    return principals[name]


def _ask_for_key(name: str) -> SecretStr:
    if sys.stdin.isatty():
        from getpass import getpass

        key = getpass(f"API key of {name} (not shown): ", sys.stderr).strip()
    else:
        key = sys.stdin.readline().strip()
    if not is_sendable(key):
        raise Refused("no API key was given, or one with characters that no key has")
    return SecretStr(key)


def _say_how_to_use(settings: Settings, file: Path) -> None:
    if settings.tokens_file == file:
        _say(f"The server that runs with NANO_BANANA_TOKENS_FILE={file} accepts it from now on.")
    else:
        _say(f"The server must be told of the file: NANO_BANANA_TOKENS_FILE={file}")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _failed(text: str) -> int:
    sys.stderr.write(f"nano-banana-mcp token: {text}\n")
    return 1
