"""The bytes of the pictures: drawn once, in a thread, when somebody looks; the recent ones are kept."""

import base64
from collections import OrderedDict
from functools import partial

import anyio
from anyio import to_thread

from nano_banana_mcp.sandbox.tasks import Task

_KEPT_BYTES = 48_000_000
_SUFFIXES = {"jpeg": "jpg", "mislabelled": "png"}


def suffix(task: Task) -> str:
    """How the picture's URL ends."""
    return _SUFFIXES.get(task.directives.picture, task.directives.picture)


def media_type(task: Task) -> str:
    """What the picture claims to be."""
    return "image/png" if task.directives.picture == "mislabelled" else f"image/{task.directives.picture}"


class Pictures:
    """Draws and remembers."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._one_at_a_time = anyio.Lock()

    async def get(self, task: Task, number: int) -> bytes:
        """The bytes of a task's picture, counted from 0."""
        key = (task.id, number)
        async with self._one_at_a_time:
            if key not in self._kept:
                self._kept[key] = await to_thread.run_sync(partial(_draw, task, number), abandon_on_cancel=True)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > _KEPT_BYTES:
                self._kept.popitem(last=False)
            return self._kept[key]

    async def data_uri(self, task: Task, number: int) -> str:
        content = base64.b64encode(await self.get(task, number)).decode("ascii")
        return f"data:{media_type(task)};base64,{content}"


def _draw(task: Task, number: int) -> bytes:
    from nano_banana_mcp.sandbox import drawing

    order = task.order
    if order.directives.result == "big-data-uri":
        return drawing.noise(order.words, megabytes=3.75)
    form = "jpeg" if order.directives.picture == "mislabelled" else order.directives.picture
    picture = drawing.draw(
        order.words,
        aspect_ratio=order.aspect_ratio,
        image_size=order.image_size,
        references=order.images,
        number=number,
    )
    return drawing.encode(picture, form)
