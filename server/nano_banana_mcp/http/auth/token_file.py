"""Static bearer tokens: who is asking, by a file that is read again whenever it changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from mcp.server.auth.provider import AccessToken
from pydantic import SecretStr

from nano_banana_mcp.http.auth import users_file as principals
from nano_banana_mcp.http.auth.users_file import BadPrincipals, OwnLimits, Principal, Version

logger = logging.getLogger(__name__)

NOT_KEPT = ""
"""In place of the token in what the tools can see of it: what nobody has, nobody can pass on."""


class StaticTokens:
    """The SDK's ``TokenVerifier`` on the file. Its last good state holds while the file cannot be used.

    Args:
        scopes: What every holder of a token may do.

    Raises:
        BadPrincipals: the file cannot be used.
    """

    def __init__(self, path: Path, scopes: Sequence[str] = ()) -> None:
        self._path = path
        self._scopes = list(scopes)
        self._seen: Version | None = None
        self._principals: dict[str, Principal] = {}
        self._owners: dict[str, str] = {}
        self._take()

    async def verify_token(self, token: str) -> AccessToken | None:
        """Whose token this is; None where it is nobody's.

        It is looked up by its hash: how long that takes tells of the hash, which cannot be steered towards another.
        """
        self._keep_up()
        name = self._owners.get(principals.digest(token))
        return None if name is None else AccessToken(token=NOT_KEPT, client_id=name, scopes=self._scopes)

    def api_key(self, name: str) -> SecretStr | None:
        """The principal's own key for the image API."""
        self._keep_up()
        principal = self._principals.get(name)
        return None if principal is None else principal.api_key

    def limits(self, name: str) -> OwnLimits:
        """The principal's own limits."""
        self._keep_up()
        principal = self._principals.get(name)
        return OwnLimits() if principal is None else principal.limits

    def _keep_up(self) -> None:
        try:
            if principals.version_of(self._path) == self._seen:
                return
        except OSError:
            if self._seen is None:
                return  # it is gone, and that has been said
        try:
            self._take()
        except BadPrincipals as error:
            logger.error("the tokens of before stay valid: %s", error)  # noqa: TRY400 - a trace would show content

    def _take(self) -> None:
        # The version first: what changes between the two is then read once more, rather than never.
        try:
            self._seen = principals.version_of(self._path)
        except OSError as error:
            self._seen = None
            raise BadPrincipals(
                f"{self._path}: cannot be read: {error.strerror}; `nano-banana-mcp token create NAME` makes one"
            ) from None
        held = principals.read(self._path).principals
        self._principals = held
        self._owners = {token.sha256: name for name, entry in held.items() for token in entry.tokens}
