"""Exports finished images to a folder for people (``NANO_BANANA_OUTPUT_DIR``) as soon as their end is known."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from nano_banana_mcp.common.files import display_path, reason_of
from nano_banana_mcp.common.supervise import supervise
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.errors import ImageError, ImageUnavailable, NotAnImage
from nano_banana_mcp.images.formats import guess_from_url
from nano_banana_mcp.images.saving.metadata import ImageMetadata
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.image_store import ImageStore, NoSuchImage

logger = logging.getLogger(__name__)

RETRY_SECONDS = (2.0, 10.0, 60.0)
"""Pause before each further attempt at an image that its host does not return."""

MAX_AGE_SECONDS = 86_400.0
"""An image that ended longer ago, and was not exported then, is exported only by ``nano-banana-mcp save``."""

MAX_CONCURRENT_EXPORTS = 6
MAX_REMEMBERED_JOBS = 5_000


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What became of the export of a generation's images.

    Attributes:
        saved: Number of images in the folder.
        paths: Their absolute paths; empty where the caller may not know them.
        saving: Number of images whose export has not ended.
        problem: Why an image was not exported, in words for the caller.
        spoiled: Whether its URL returned something else than an image.
    """

    saved: int
    paths: tuple[Path, ...] = ()
    saving: int = 0
    problem: str | None = None
    spoiled: bool = False


def combined(results: Iterable[ExportResult | None]) -> ExportResult | None:
    """Return the results of several generations as one; None if there was nothing to export."""
    exports = [result for result in results if result is not None]
    if not exports:
        return None
    return ExportResult(
        sum(export.saved for export in exports),
        tuple(path for export in exports for path in export.paths),
        sum(export.saving for export in exports),
        next((export.problem for export in exports if export.problem is not None), None),
        any(export.spoiled for export in exports),
    )


@dataclass
class _Job:
    generation: Generation
    paths: dict[int, Path] = field(default_factory=dict)
    problem: str | None = None
    public_problem: str | None = None
    spoiled: bool = False
    finished: anyio.Event = field(default_factory=anyio.Event)


class Exporter:
    """Exports images to a folder: one background task a generation.

    Args:
        tasks: Runs the exports.
        now: Wall-clock time, Unix seconds.
        shown: Whether callers may know the folder.
        retry_seconds: Pause before each further attempt at an image that its host does not return.
    """

    def __init__(
        self,
        store: ImageStore,
        folder: OutputFolder,
        tasks: TaskGroup,
        now: Callable[[], float],
        *,
        shown: bool,
        retry_seconds: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self.folder = folder
        self._store = store
        self._tasks = tasks
        self._now = now
        self._shown = shown
        self._retry_seconds = retry_seconds
        self._jobs: OrderedDict[str, _Job] = OrderedDict()
        self._exports = anyio.CapacityLimiter(MAX_CONCURRENT_EXPORTS)
        self._draining = anyio.Event()

    def on_end(self, generation: Generation) -> None:
        """Start to export the images of a finished generation. Subscriber of the change bus."""
        if generation.images:
            self._job(generation)

    async def result(self, generation: Generation, seconds: float) -> ExportResult | None:
        """Start the export if it has not been, and wait for it.

        Args:
            seconds: Longest wait.

        Returns:
            What became of it so far; None if there is nothing to export.
        """
        if not generation.images:
            return None
        job = self._job(generation)
        with anyio.move_on_after(seconds):
            await self._finished_or_draining(job)
        unfinished = 0 if job.finished.is_set() else len(generation.images) - len(job.paths)
        if not (job.paths or unfinished or job.problem):
            return None
        paths = tuple(path for _, path in sorted(job.paths.items())) if self._shown else ()
        problem = job.problem if self._shown else job.public_problem
        return ExportResult(len(job.paths), paths, unfinished, problem, job.spoiled)

    async def wait_until_settled(self) -> None:
        """Return when no export is running."""
        for job in list(self._jobs.values()):
            await job.finished.wait()

    def drain(self) -> None:
        """End all waits for exports: the server is about to end."""
        self._draining.set()

    async def _finished_or_draining(self, job: _Job) -> None:
        async with anyio.create_task_group() as tasks:

            async def cancel_when(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(cancel_when, job.finished)
            tasks.start_soon(cancel_when, self._draining)

    def _job(self, generation: Generation) -> _Job:
        job = self._jobs.get(generation.public_id)
        # A failed export is tried again for the next caller.
        if job is None or (job.finished.is_set() and job.problem is not None):
            job = self._jobs[generation.public_id] = _Job(generation)
            self._tasks.start_soon(supervise, "exporting images", partial(self._run, job))
            while len(self._jobs) > MAX_REMEMBERED_JOBS and next(iter(self._jobs.values())).finished.is_set():
                self._jobs.popitem(last=False)
        return job

    async def _run(self, job: _Job) -> None:
        try:
            async with anyio.create_task_group() as tasks:
                for number in range(len(job.generation.images)):
                    tasks.start_soon(self._export, job, number)
        finally:
            job.finished.set()

    async def _export(self, job: _Job, number: int) -> None:
        for pause in (*self._retry_seconds, None):
            try:
                async with self._exports:
                    path = await self._export_once(job.generation, number)
            except (OSError, ImageError, LedgerError, NoSuchImage) as error:
                if pause is None or not isinstance(error, ImageUnavailable):
                    self._record_failure(job, error)
                    return
                await anyio.sleep(pause)
            else:
                if path is not None:
                    job.paths[number] = path
                return

    async def _export_once(self, generation: Generation, number: int) -> Path | None:
        path = await to_thread.run_sync(_find, self.folder, generation.public_id, number)
        if path is not None:  # exported by an earlier process: its extension was chosen by its bytes
            self._store.remember_type(generation.generation_id, number, guess_from_url(path.name))
            return path
        if self._now() - (generation.finished_at or 0.0) > MAX_AGE_SECONDS:
            return None
        return await save(self._store, self.folder, generation, number)

    def _record_failure(self, job: _Job, error: Exception) -> None:
        job.spoiled = isinstance(error, NotAnImage)
        match error:
            case OSError():
                job.problem = f"{display_path(self.folder.path)}: {reason_of(error)}"
                job.public_problem = "its folder cannot be written to"
            case ImageError():
                job.problem = job.public_problem = error.message
            case NoSuchImage():
                job.problem = job.public_problem = "the image data is no longer available"
            case _:
                job.problem = job.public_problem = str(error)
        logger.warning("an image of task %s was not exported: %s", job.generation.public_id, job.problem)


async def save(store: ImageStore, folder: OutputFolder, generation: Generation, number: int) -> Path:
    """Save one image of a finished generation in a folder. Returns its path, also if it was saved before.

    Raises:
        NoSuchImage: The generation has no such image, or its bytes are gone.
        ImageError: The bytes cannot be downloaded.
        LedgerError: The database that stores the bytes cannot be used.
        OSError: The folder cannot be written to.
    """
    image = await store.open(generation, number)
    return await to_thread.run_sync(folder.save, image, metadata_of(generation, number))


def metadata_of(generation: Generation, number: int) -> ImageMetadata:
    """Return what is written into the file of an image."""
    return ImageMetadata(
        task_id=generation.public_id,
        number=number,
        created_at=generation.created_at,
        prompt=generation.prompt,
        model=generation.model,
        url=generation.images[number].url,
        credits=generation.credits_consumed,
        save_as=generation.save_as,
        is_from_sandbox=generation.is_sandbox,
    )


def _find(folder: OutputFolder, task_id: str, number: int) -> Path | None:
    try:
        return folder.find(task_id, number)
    except FileNotFoundError:
        return None
