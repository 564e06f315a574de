from __future__ import annotations

from tests.support.ledgers import ledger

__all__ = ["ledger"]
