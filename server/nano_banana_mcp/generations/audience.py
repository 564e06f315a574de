"""Who wants to hear of changed tasks, besides those who wait for them."""

from __future__ import annotations

from nano_banana_mcp.generations.models import Generation


class Audience:
    """Nobody; to be overridden."""

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return 0

    def changed(self, generation: Generation) -> None:
        """The state of a generation has changed."""
