"""Who may use what: each caller's limits, and the key that pays for their pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nano_banana_mcp.generations.limits import Limits, Quotas

if TYPE_CHECKING:
    from pydantic import SecretStr


def _the_servers(principal: str) -> SecretStr | None:
    return None


@dataclass(frozen=True)
class Accounts:
    """What is known of the callers.

    Attributes:
        asked: Whether callers are asked who they are. Where they are, each sees their own tasks and no others; where
            they are not, any task of the server's key can be looked at.
        key_of: A caller's own key for the image API; None where the server's is used.
        quotas: Their limits.
    """

    asked: bool = False
    key_of: Callable[[str], SecretStr | None] = _the_servers
    quotas: Quotas = field(default_factory=lambda: Quotas(Limits(), Limits(), clock=time.monotonic))
