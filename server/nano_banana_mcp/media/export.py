"""Saves finished pictures into a folder the moment their end is known, whoever waits for it or has gone."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.errors import ImageError, ImageUnavailable, NotAnImage
from nano_banana_mcp.images.formats import guess_from_url
from nano_banana_mcp.images.saving.metadata import Facts
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage

logger = logging.getLogger(__name__)

PAUSES_SECONDS = (2.0, 10.0, 60.0)
"""Before each further attempt at a host that does not hand a picture over."""

FRESH_SECONDS = 86_400.0
"""A picture that ended longer ago, and was not saved then, is saved only by ``nano-banana-mcp save``."""

MAX_AT_A_TIME = 6
MAX_REMEMBERED = 5_000


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What became of the saving of a generation's pictures.

    Attributes:
        saved: How many are in the folder.
        paths: Where, absolute; empty where the caller need not know.
        saving: How many are still being saved.
        problem: Why one was not, in words for the caller.
        spoiled: Whether that is because there is something else in its place.
    """

    saved: int
    paths: tuple[Path, ...] = ()
    saving: int = 0
    problem: str | None = None
    spoiled: bool = False


@dataclass
class _Job:
    known: Generation
    paths: dict[int, Path] = field(default_factory=dict)
    problem: str | None = None
    public_problem: str | None = None
    spoiled: bool = False
    over: anyio.Event = field(default_factory=anyio.Event)


class Exporter:
    """Keeps pictures in a folder. Each generation's are saved by one task, however many see its end.

    Args:
        tasks: Where the saving runs, apart from those who wait for it.
        shown: Whether callers may know where the folder is.
        now: Wall-clock time, Unix seconds.
    """

    def __init__(
        self, album: ImageStore, folder: OutputFolder, tasks: TaskGroup, now: Callable[[], float], *, shown: bool
    ) -> None:
        self._album = album
        self.folder = folder
        self._tasks = tasks
        self._now = now
        self._shown = shown
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._places = anyio.Semaphore(MAX_AT_A_TIME)
        self._draining = anyio.Event()

    def on_change(self, known: Generation) -> None:
        """Begin to save a generation's pictures, unless that is done or under way."""
        if known.images:
            self._job(known)

    async def result(self, known: Generation, seconds: float) -> ExportResult | None:
        """Wait at most ``seconds`` for the saving, and say what became of it. None where there is nothing to say."""
        if not known.images:
            return None
        job = self._job(known)
        with anyio.move_on_after(seconds):
            await self._over_or_draining(job)
        left = 0 if job.over.is_set() else len(known.images) - len(job.paths)
        if not (job.paths or left or job.problem):
            return None
        paths = tuple(path for _, path in sorted(job.paths.items())) if self._shown else ()
        problem = job.problem if self._shown else job.public_problem
        return ExportResult(len(job.paths), paths, left, problem, job.spoiled)

    async def settled(self) -> None:
        """Return when nothing is being saved any more."""
        for job in list(self._jobs.values()):
            await job.over.wait()

    def drain(self) -> None:
        """Let nobody wait for the saving any more: the server is about to end."""
        self._draining.set()

    async def _over_or_draining(self, job: _Job) -> None:
        async with anyio.create_task_group() as either:

            async def end_when(event: anyio.Event) -> None:
                await event.wait()
                either.cancel_scope.cancel()

            either.start_soon(end_when, job.over)
            either.start_soon(end_when, self._draining)

    def _job(self, known: Generation) -> _Job:
        job = self._jobs.get(known.public_id)
        # What failed is tried again for whoever asks again.
        if job is None or (job.over.is_set() and job.problem is not None):
            job = self._jobs[known.public_id] = _Job(known)
            self._tasks.start_soon(self._run, job)
            while len(self._jobs) > MAX_REMEMBERED and next(iter(self._jobs.values())).over.is_set():
                self._jobs.popitem(last=False)
        return job

    async def _run(self, job: _Job) -> None:
        try:
            async with anyio.create_task_group() as encoded_images:
                for number in range(len(job.known.images)):
                    encoded_images.start_soon(self._save, job, number)
        finally:
            job.over.set()

    async def _save(self, job: _Job, number: int) -> None:
        pauses = list(PAUSES_SECONDS)
        while True:
            try:
                async with self._places:
                    path = await self._save_once(job.known, number)
            except Exception as error:  # noqa: BLE001 - the edge of this task: no picture may end the server
                if not (pauses and isinstance(error, ImageUnavailable)):
                    self._failed(job, error)
                    return
                await anyio.sleep(pauses.pop(0))
            else:
                if path is not None:
                    job.paths[number] = path
                return

    async def _save_once(self, known: Generation, number: int) -> Path | None:
        kept = await anyio.to_thread.run_sync(_find, self.folder, known.public_id, number)
        url = known.images[number].url
        if kept is not None:
            if url is not None:  # saved by an earlier process, perhaps: its extension was chosen by its bytes
                self._album.learn_type(url, guess_from_url(kept.name))
            return kept
        if self._now() - (known.finished_at or 0.0) > FRESH_SECONDS:
            return None
        if url is not None and not self._album.still_serves(known):
            return None
        return await save(self._album, self.folder, known, number)

    def _failed(self, job: _Job, error: Exception) -> None:
        job.spoiled = isinstance(error, NotAnImage)
        if isinstance(error, OSError):
            job.problem = f"{self.folder.path}: {error.strerror or type(error).__name__}"
            job.public_problem = "its folder cannot be written to"
        elif isinstance(error, ImageError):
            job.problem = job.public_problem = error.message
        elif isinstance(error, NoSuchImage):
            job.problem = job.public_problem = "its bytes are gone"
        else:
            job.problem = job.public_problem = type(error).__name__
        logger.warning("a picture of task %s could not be saved: %s", job.known.public_id, job.problem)


async def save(album: ImageStore, folder: OutputFolder, known: Generation, number: int) -> Path:
    """Fetch one picture of a finished generation and save it. Returns where it is, also if it was saved before.

    Raises:
        NoSuchImage: its bytes are gone, or it never had so many.
        ImageError: they cannot be had.
        OSError: the folder cannot be written to.
    """
    image = await album.open(known, number)
    return await anyio.to_thread.run_sync(folder.save, image, facts_of(known, number))


def facts_of(known: Generation, number: int) -> Facts:
    """What there is to say of one picture."""
    return Facts(
        task_id=known.public_id,
        number=number,
        created_at=known.created_at,
        prompt=known.prompt,
        model=known.model,
        url=known.images[number].url,
        credits=known.credits_consumed,
        drawn=known.api == "sandbox",
    )


def _find(folder: OutputFolder, task_id: str, number: int) -> Path | None:
    try:
        return folder.find(task_id, number)
    except FileNotFoundError:
        return None
