"""The tasks with their request, cost and state, and the bytes of their images, which are drawn on the first request."""

import base64
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import anyio
from anyio import to_thread

from nano_banana_sandbox.config import Art
from nano_banana_sandbox.faults import Directives

Clock = Callable[[], float]

PRICE = 0.5
# Share of the task's duration at which the next state begins.
_SUBMITTED, _IN_PROGRESS = 0.1, 0.25
_MAX_INLINE_LETTERS = 4096
_MAX_CACHE_BYTES = 48_000_000
_SUFFIXES = {"jpeg": "jpg", "mislabelled": "png"}


@dataclass(frozen=True, slots=True)
class Order:
    """An accepted submit."""

    prompt: str
    words: str  # the prompt without its directives
    directives: Directives
    request: dict[str, Any]
    images: int = 0
    aspect_ratio: str = "1:1"
    image_size: str = "1k"
    callback_url: str | None = None


@dataclass(slots=True)
class Task:
    """A charged order. Its state depends only on the clock."""

    id: str
    order: Order
    origin: str  # scheme://host:port under which the client reached the sandbox
    created_at: str
    born: float
    clock: Clock = field(repr=False)
    queries: int = 0
    reads: Counter[int] = field(default_factory=Counter)

    @property
    def prompt(self) -> str:
        return self.order.prompt

    @property
    def directives(self) -> Directives:
        return self.order.directives

    @property
    def age(self) -> float:
        return self.clock() - self.born

    @property
    def finished(self) -> bool:
        return self.age >= self.directives.seconds

    @property
    def outcome(self) -> str:
        return "failed" if self.directives.result == "failed" else "success"

    @property
    def status(self) -> str:
        if self.finished:
            return self.outcome
        if self.directives.status is not None:
            return self.directives.status
        done = self.age / self.directives.seconds
        if done < _SUBMITTED:
            return "pending"
        return "submitted" if done < _IN_PROGRESS else "in_progress"

    @property
    def is_visible(self) -> bool:
        """Whether a query finds the task already."""
        return self.age >= self.directives.grace

    @property
    def cost(self) -> float:
        """Credits; a failed task is free."""
        return 0.0 if self.finished and self.outcome == "failed" else PRICE

    @property
    def image_count(self) -> int:
        """Number of images of the finished task."""
        if self.directives.result in ("null", "empty", "text", "failed"):
            return 0
        return 4 if self.directives.result == "many" else 1

    def as_dict(self) -> dict[str, Any]:
        """The state now and everything that the client sent, for `/_sandbox/tasks`."""
        return {
            "id": self.id,
            "prompt": self.prompt,
            "status": self.status,
            "charged": True,
            "callback_url": self.order.callback_url,
            "images": self.order.images,
            "queries": self.queries,
            "request": self.order.request,
        }


class TaskStore:
    """All tasks of one sandbox, in the order of their submits."""

    def __init__(self, clock: Clock = time.monotonic, wall: Clock = time.time) -> None:
        self._clock = clock
        self._wall = wall
        self._tasks: dict[str, Task] = {}

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def create(self, order: Order, origin: str) -> Task:
        """Charge an order and start its task."""
        shape = order.directives.id or ("ta" if len(self._tasks) % 2 == 0 else "uuid")
        created_at = datetime.fromtimestamp(self._wall(), UTC).isoformat(timespec="seconds")
        task = Task(_new_id(shape), order, origin, created_at, self._clock(), self._clock)
        self._tasks[task.id] = task
        return task

    def find(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    @property
    def cost(self) -> float:
        return sum(task.cost for task in self._tasks.values())


def shortened(request: dict[str, Any]) -> dict[str, Any]:
    """The request for `/_sandbox/tasks`: inline reference images are cut."""
    images = request.get("images")
    if not isinstance(images, list):
        return request
    return {**request, "images": [_cut(image) for image in images]}


def _cut(image: str) -> str:
    return image if len(image) <= _MAX_INLINE_LETTERS else f"{image[:64]}… ({len(image)} characters)"


def _new_id(shape: str) -> str:
    fresh = str(uuid.uuid4())
    return f"ta{fresh}" if shape == "ta" else f"ta{fresh[2:]}"


def suffix(task: Task) -> str:
    """The suffix of the image's URL."""
    return _SUFFIXES.get(task.directives.picture, task.directives.picture)


def media_type(task: Task) -> str:
    """The Content-Type of the image, which may be wrong on purpose."""
    return "image/png" if task.directives.picture == "mislabelled" else f"image/{task.directives.picture}"


class Drawings:
    """Draws images in a thread and caches recent ones."""

    def __init__(self, art: Art = "scenery") -> None:
        self._art = art
        self._cache: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._one_at_a_time = anyio.Lock()

    async def get(self, task: Task, number: int) -> bytes:
        """The bytes of a task's image, counted from 0."""
        key = (task.id, number)
        async with self._one_at_a_time:
            if key not in self._cache:
                self._cache[key] = await to_thread.run_sync(
                    partial(_draw, task, number, self._art), abandon_on_cancel=True
                )
            self._cache.move_to_end(key)
            while len(self._cache) > 1 and sum(map(len, self._cache.values())) > _MAX_CACHE_BYTES:
                self._cache.popitem(last=False)
            return self._cache[key]

    async def data_uri(self, task: Task, number: int) -> str:
        content = base64.b64encode(await self.get(task, number)).decode("ascii")
        return f"data:{media_type(task)};base64,{content}"


def _draw(task: Task, number: int, art: Art) -> bytes:
    from nano_banana_sandbox import drawing  # Pillow is imported only when an image is drawn

    order = task.order
    if order.directives.result == "big-data-uri":
        return drawing.noise(order.words, megabytes=3.75)
    form = "jpeg" if order.directives.picture == "mislabelled" else order.directives.picture
    if art == "plain":
        image = drawing.plain(order.words, aspect_ratio=order.aspect_ratio, image_size=order.image_size, number=number)
        return drawing.encode(image, form)
    image = drawing.draw(
        order.words,
        aspect_ratio=order.aspect_ratio,
        image_size=order.image_size,
        references=order.images,
        number=number,
    )
    return drawing.encode(image, form)
