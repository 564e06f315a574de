"""What each caller may use over HTTP: by the settings, and by the tokens file where it names somebody."""

from __future__ import annotations

from nano_banana_mcp.app import quotas
from nano_banana_mcp.generations.accounts import Accounts
from nano_banana_mcp.generations.limits import Limits
from nano_banana_mcp.hosting.auth import Authentication
from nano_banana_mcp.settings import Settings


def accounts_by(settings: Settings, authentication: Authentication) -> Accounts:
    """The accounts of callers who are asked who they are."""

    def own(principal: str) -> Limits | None:
        said = authentication.limits_for(principal).model_dump(exclude_none=True)
        # What the file says of somebody counts as if the settings said it to them.
        return quotas(settings.model_copy(update=said), asked=True).limits_of(principal) if said else None

    return Accounts(asked=True, key_of=authentication.api_key_for, quotas=quotas(settings, asked=True, special=own))
