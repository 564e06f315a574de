"""Several pictures small enough for one answer: each gets the same share of its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import anyio

from nano_banana_mcp.generations.album import Album, NoSuchPicture
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.errors import PictureError
from nano_banana_mcp.images.shrink import Shrunk

MOST_BYTES = 500_000
"""Of one picture."""

BUDGET_BYTES = 700_000
"""Of all pictures of one answer: hosts take 1 MB at most, and base64 makes 4 bytes of 3."""

SMALLEST_SHARE_BYTES = 80_000
"""With less there is not much to be seen."""

LONGEST_SECONDS = 45.0
"""Many hosts cut a call at 60 s."""

MOST_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class View:
    """One picture that was to be looked at.

    Attributes:
        number: Of the picture, from 0.
        shown: The picture; None where there is none to look at.
        trouble: Why there is none, in words.
    """

    number: int
    shown: Shrunk | None
    trouble: str | None = None


async def view(album: Album, known: Generation, numbers: Sequence[int], *, max_side: int) -> list[View]:
    """Look at pictures of a generation. One that cannot be shown says why, and keeps no other from being shown."""
    fitting = numbers[: BUDGET_BYTES // SMALLEST_SHARE_BYTES]
    share = min(MOST_BYTES, BUDGET_BYTES // max(1, len(fitting)))
    views = {number: View(number, None, "the budget of 700 kB for one answer is used up") for number in numbers}
    views |= {number: View(number, None, f"it was not there within {LONGEST_SECONDS:g} s") for number in fitting}
    limiter = anyio.CapacityLimiter(MOST_AT_ONCE)

    async def one(number: int) -> None:
        async with limiter:
            try:
                shown = await album.view(known, number, max_side=max_side, max_bytes=share)
            except NoSuchPicture:
                views[number] = View(number, None, "this server does not have it")
            except PictureError as error:
                views[number] = View(number, None, str(error))
            else:
                views[number] = View(number, shown)

    with anyio.move_on_after(LONGEST_SECONDS):
        async with anyio.create_task_group() as tasks:
            for number in fitting:
                tasks.start_soon(one, number)
    return [views[number] for number in numbers]
