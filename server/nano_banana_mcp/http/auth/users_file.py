"""The tokens file: the principals who may call, the hashes of their tokens, and their own keys and limits.

    {"principals": {"alice": {"tokens": [{"sha256": "…", "created_at": "…"}], "api_key": "dk-…", "limits": {}}}}

A token has 256 random bits, so one SHA-256 is enough: slow, salted hashes are for passwords. Principals of an OAuth
issuer may have an entry too, without tokens.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from nano_banana_mcp.common.files import atomic_write, private_folder
from nano_banana_mcp.settings import Confirm

logger = logging.getLogger(__name__)

PREFIX = "nb_"
MAX_FILE_BYTES = 8 * 1024 * 1024
NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
OAUTH_PREFIXES = ("oauth:", "oauth-client:")
"""Prefixes of the OAuth issuer's principals; no other name may begin with them."""


class BadPrincipals(ValueError):
    """The tokens file cannot be used. The message is one line and quotes nothing of the content."""


class HashedToken(BaseModel):
    """One token in the file."""

    model_config = ConfigDict(extra="forbid")

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: str = Field("", max_length=64)


class OwnLimits(BaseModel):
    """A principal's own limits, which replace those of the settings; 0 means no limit (in ``confirm``, a price)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    calls_per_minute: int | None = Field(None, ge=0)
    open_tasks: int | None = Field(None, ge=0)
    credits_per_day: Decimal | None = Field(None, ge=0, allow_inf_nan=False)
    confirm: Confirm | None = None


class Principal(BaseModel):
    """A caller's entry."""

    model_config = ConfigDict(extra="forbid")

    tokens: list[HashedToken] = Field(default_factory=list)
    api_key: SecretStr | None = None
    limits: OwnLimits = OwnLimits()

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not is_sendable(key.get_secret_value()):
            raise ValueError("has characters that a key cannot have")
        return key

    def as_dict(self) -> dict[str, Any]:
        """The entry, as written to the file."""
        key = self.api_key.get_secret_value() if self.api_key else None
        tokens = [token.model_dump() for token in self.tokens]
        limits = self.limits.model_dump(mode="json", exclude_none=True)
        return {name: value for name, value in (("tokens", tokens), ("api_key", key), ("limits", limits)) if value}


class Principals(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid")

    principals: dict[str, Principal] = Field(default_factory=dict)

    @field_validator("principals")
    @classmethod
    def _one_owner_a_token(cls, principals: dict[str, Principal]) -> dict[str, Principal]:
        owners: dict[str, str] = {}
        for name, principal in principals.items():
            if not is_principal(name):
                raise ValueError("a name must be 1 to 64 of A-Z a-z 0-9 . _ @ -, or begin with oauth: or oauth-client:")
            if principal.tokens and not NAME.fullmatch(name):
                raise ValueError("a principal of the OAuth issuer cannot have tokens here")
            for token in principal.tokens:
                if owners.setdefault(token.sha256, name) != name:
                    raise ValueError("one token belongs to two principals")
        return principals


@dataclass(frozen=True, slots=True)
class Version:
    """Identifies a state of the file: a replacement changes the inode, an edit the time or the size."""

    modified_ns: int
    size: int
    inode: int


def is_principal(name: str) -> bool:
    """Whether the file may have an entry of this name."""
    for prefix in OAUTH_PREFIXES:
        if name.startswith(prefix):
            return is_subject(name.removeprefix(prefix))
    return NAME.fullmatch(name) is not None


def is_subject(text: object) -> bool:
    """Whether this can be a subject of the issuer. It goes into logs and the ledger."""
    return isinstance(text, str) and 1 <= len(text) <= 255 and text.isprintable()


def is_sendable(key: str) -> bool:
    """Whether a key for the image API can be sent in a header."""
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


def new_token() -> str:
    """A new random token."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """The hash of a token, as the file stores it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def version_of(path: Path) -> Version:
    """The state of the file now.

    Raises:
        OSError: the file does not exist, or cannot be accessed.
    """
    status = path.stat()
    return Version(status.st_mtime_ns, status.st_size, status.st_ino)


def read(path: Path) -> Principals:
    """The principals.

    Raises:
        BadPrincipals: the file cannot be read or used.
    """
    try:
        with path.open("rb") as file:
            _check_mode(path, os.fstat(file.fileno()).st_mode)
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadPrincipals(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > MAX_FILE_BYTES:
        raise BadPrincipals(f"{path}: is larger than {MAX_FILE_BYTES // 1024**2} MiB")
    try:
        return Principals.model_validate_json(content.removeprefix(codecs.BOM_UTF8))  # editors on Windows write one
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        # Without the location in the file: its path has names and may, by mistake, have a secret.
        raise BadPrincipals(f"{path}: {_describe(problem['type'], problem['msg'])}") from None


@contextmanager
def edited(path: Path) -> Iterator[Principals]:
    """The principals, to be changed in the block; written atomically when it ends without an error.

    Raises:
        BadPrincipals: the file is there and cannot be used.
        OSError: it cannot be written.
    """
    path = path.resolve()
    private_folder(path.parent)
    with _locked(path):
        principals = read(path) if path.exists() else Principals()
        yield principals
        _write(path, principals)


def _write(path: Path, principals: Principals) -> None:
    content = {"principals": {name: principal.as_dict() for name, principal in principals.principals.items()}}
    # A server that is not root must still be able to read what root has changed.
    atomic_write(path, json.dumps(content, indent=2).encode() + b"\n", keep_owner=True)


def _check_mode(path: Path, mode: int) -> None:
    if sys.platform == "win32":
        return
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadPrincipals(f"{path}: other users can write to it and could add tokens: run chmod 600 on it")
    if mode & (stat.S_IRGRP | stat.S_IROTH):  # common for the secrets of a container
        logger.warning("%s can be read by other users and may hold keys: run chmod 600 on it", path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Allow one edit at a time: a concurrent one would bring back a token that the other has revoked."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with os.fdopen(os.open(path.with_name(f".{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600), "rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _describe(kind: str, message: str) -> str:
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "json_invalid":
        return "is not JSON"
    return 'is not of the form {"principals": {"NAME": {"tokens": [{"sha256": …}], "api_key": …, "limits": …}}}'
