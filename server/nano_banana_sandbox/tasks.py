"""The tasks: what was asked, what it cost, and which state each is in at which moment; and the bytes of
their pictures: drawn once, in a thread, when somebody looks, and kept while they are recent."""

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

from nano_banana_sandbox.faults import Directives

Clock = Callable[[], float]

PRICE = 0.5
# Which share of the task's time has passed when the next state begins.
_SUBMITTED, _IN_PROGRESS = 0.1, 0.25
_MAX_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Order:
    """A submit that passed the checks."""

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
    """A charged order. Its state follows from the clock alone."""

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
    def known(self) -> bool:
        """Whether a query finds it already."""
        return self.age >= self.directives.grace

    @property
    def cost(self) -> float:
        """Credits it takes from the balance; a failed task gives them back."""
        return 0.0 if self.finished and self.outcome == "failed" else PRICE

    @property
    def image_count(self) -> int:
        """How many pictures it ends with."""
        if self.directives.result in ("null", "empty", "text", "failed"):
            return 0
        return 4 if self.directives.result == "many" else 1

    def as_dict(self) -> dict[str, Any]:
        """What the tests ask for: the state now, and everything the client sent."""
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
        """Charge an order: from here on there is a task."""
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


def kept(request: dict[str, Any]) -> dict[str, Any]:
    """The request as it is remembered: reference images sent inline are shortened."""
    images = request.get("images")
    if not isinstance(images, list):
        return request
    return {**request, "images": [_shortened(image) for image in images]}


def _shortened(image: str) -> str:
    return image if len(image) <= _MAX_KEPT else f"{image[:64]}… ({len(image)} characters)"


def _new_id(shape: str) -> str:
    fresh = str(uuid.uuid4())
    return f"ta{fresh}" if shape == "ta" else f"ta{fresh[2:]}"


_KEPT_BYTES = 48_000_000
_SUFFIXES = {"jpeg": "jpg", "mislabelled": "png"}


def suffix(task: Task) -> str:
    """How the picture's URL ends."""
    return _SUFFIXES.get(task.directives.picture, task.directives.picture)


def media_type(task: Task) -> str:
    """What the picture claims to be."""
    return "image/png" if task.directives.picture == "mislabelled" else f"image/{task.directives.picture}"


class Drawings:
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
    from nano_banana_sandbox import drawing

    order = task.order
    if order.directives.result == "big-data-uri":
        return drawing.noise(order.words, megabytes=3.75)
    form = "jpeg" if order.directives.picture == "mislabelled" else order.directives.picture
    encoded = drawing.draw(
        order.words,
        aspect_ratio=order.aspect_ratio,
        image_size=order.image_size,
        references=order.images,
        number=number,
    )
    return drawing.encode(encoded, form)
