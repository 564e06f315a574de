"""Images of the sandbox that a test chooses."""

from __future__ import annotations

from nano_banana_sandbox.tasks import Drawings, Task


class FixedDrawings(Drawings):
    """These bytes instead of drawings, by number."""

    def __init__(self, *images: bytes) -> None:
        super().__init__()
        self._images = images

    async def get(self, task: Task, number: int) -> bytes:
        """See the base class."""
        return self._images[number]
