"""Verify static bearer tokens by a file that is read again whenever it changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mcp.server.auth.provider import AccessToken
from pydantic import SecretStr

from nano_banana_mcp.http.auth import users_file
from nano_banana_mcp.http.auth.users_file import BadPrincipals, OwnLimits, Principal, Version
from nano_banana_mcp.settings import NEVER

logger = logging.getLogger(__name__)

REDACTED = ""
"""Stands for the token in the access token that tools can see, so that none can leak it."""


class StaticTokens:
    """The SDK's ``TokenVerifier`` on the tokens file. While the file cannot be used, its last good state is.

    Args:
        path: The tokens file.
        scopes: Scopes that every token has.

    Raises:
        BadPrincipals: the file cannot be used.
    """

    def __init__(self, path: Path, scopes: Sequence[str] = ()) -> None:
        self._path = path
        self._scopes = list(scopes)
        self._version: Version | None = None
        self._principals: dict[str, Principal] = {}
        self._owners: dict[str, str] = {}
        self._load()

    async def verify_token(self, token: str) -> AccessToken | None:
        """The principal of a token; None if the token is unknown.

        The lookup is by hash: its timing reveals something of the hash only, which a caller cannot steer.
        """
        self._reload()
        name = self._owners.get(users_file.digest(token))
        return None if name is None else AccessToken(token=REDACTED, client_id=name, scopes=self._scopes)

    def api_key(self, name: str) -> SecretStr | None:
        """The principal's own key for the image API."""
        self._reload()
        principal = self._principals.get(name)
        return None if principal is None else principal.api_key

    @property
    def has_api_keys(self) -> bool:
        """Whether a principal has an API key of their own."""
        self._reload()
        return any(principal.api_key is not None for principal in self._principals.values())

    def limits(self, name: str) -> OwnLimits:
        """The principal's own limits."""
        self._reload()
        principal = self._principals.get(name)
        return OwnLimits() if principal is None else principal.limits

    @property
    def has_confirm(self) -> bool:
        """Whether a principal has a threshold of their own above which a person confirms."""
        self._reload()
        return any(principal.limits.confirm not in (None, NEVER) for principal in self._principals.values())

    def _reload(self) -> None:
        try:
            if users_file.version_of(self._path) == self._version:
                return
        except OSError:
            if self._version is None:
                return  # it is missing, which was logged before
        try:
            self._load()
        except BadPrincipals as error:
            logger.error("the tokens file cannot be used, the previous tokens stay valid: %s", error)  # noqa: TRY400 - a trace would show content

    def _load(self) -> None:
        # The version comes first: a change between the two steps leads to one more read instead of none.
        try:
            self._version = users_file.version_of(self._path)
        except OSError as error:
            self._version = None
            raise BadPrincipals(
                f"{self._path}: cannot be read: {error.strerror}; `nano-banana-mcp token create NAME` makes one"
            ) from None
        principals = users_file.read(self._path).principals
        self._principals = principals
        self._owners = {token.sha256: name for name, entry in principals.items() for token in entry.tokens}
