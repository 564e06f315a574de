"""What each caller may use over HTTP: by the settings, and by the tokens file where it names somebody."""

from __future__ import annotations

from decimal import Decimal

from nano_banana_mcp.app import quotas
from nano_banana_mcp.generations.accounts import Accounts
from nano_banana_mcp.generations.limits import Limits
from nano_banana_mcp.hosting.auth import Authentication
from nano_banana_mcp.settings import Settings


def accounts_by(settings: Settings, authentication: Authentication) -> Accounts:
    """The accounts of callers who are asked who they are."""
    usual = quotas(settings, asked=True)

    def own(principal: str) -> Limits | None:
        said = authentication.limits_for(principal)
        if not said:
            return None
        each = usual.limits_of(principal)
        credits_per_day = said.get("credits_per_day", each.credits_per_day)
        return Limits(
            calls_per_minute=said.get("calls_per_minute", each.calls_per_minute) or None,
            open_tasks=said.get("open_tasks", each.open_tasks) or None,
            credits_per_day=Decimal(str(credits_per_day)) if credits_per_day else None,
        )

    return Accounts(asked=True, key_of=authentication.api_key_for, quotas=quotas(settings, asked=True, special=own))
