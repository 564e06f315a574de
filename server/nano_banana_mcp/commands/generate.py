"""``generate``: makes images and saves them, with their progress on the terminal."""

from __future__ import annotations

import argparse
import os
import sys
import webbrowser
from pathlib import Path
from typing import Any

import anyio
from pydantic import TypeAdapter, ValidationError

from nano_banana_mcp.app import open_service
from nano_banana_mcp.commands.console import FAILED, USAGE_ERROR, explained, for_person, print_json, refuse
from nano_banana_mcp.commands.demo import writable_folder
from nano_banana_mcp.commands.history import as_dict
from nano_banana_mcp.commands.output_folders import remember_folder
from nano_banana_mcp.commands.progress import USUAL_SECONDS, Bar, WaitProgress
from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.common.text import sentence
from nano_banana_mcp.defapi.errors import DefapiError, NotSent, OutcomeUnknown
from nano_banana_mcp.defapi.schemas import SubmitRequest
from nano_banana_mcp.generations.batches import MAX_COUNT, GenerationOrBatch, members
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.generations.quotas import LimitReached
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.export import save
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.tracking.waiter import WaitResult
from nano_banana_tools import arguments as tool_arguments

WAIT_SECONDS = 240.0
"""Of one wait; it is repeated until the image is finished or cannot be queried."""
INTERRUPTED = 130
_REMOTE = ("http:", "https:", "data:", "nanobanana:")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("prompt", nargs="+", metavar="PROMPT", help="what to draw, or how to change --image")
    parser.add_argument("--model", help="the model (default: DEFAPI_MODEL)")
    parser.add_argument("--aspect-ratio", metavar="W:H", help="such as 16:9 or 1:1")
    parser.add_argument("--image-size", metavar="SIZE", help="1k, 2k or 4k, for the models that take it")
    parser.add_argument(
        "--count", type=int, default=1, metavar="N", help="pictures to make, 1 to 4; each costs credits"
    )
    parser.add_argument(
        "--image", action="append", default=[], metavar="FILE", help="a file or URL to edit or combine; up to 4 times"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to save (default: NANO_BANANA_OUTPUT_DIR, else ./pictures)",
    )
    parser.add_argument("--open", action="store_true", help="open the pictures when they are saved")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make the images and print their paths and prices.

    Returns:
        0 if all are made and saved, 1 if not, 2 for a wrong command line.
    """
    if not 1 <= arguments.count <= MAX_COUNT:
        return refuse("generate", f"--count takes 1 to {MAX_COUNT}", USAGE_ERROR)
    if len(arguments.image) > tool_arguments.MAX_REFERENCES:
        return refuse("generate", f"--image can be given at most {tool_arguments.MAX_REFERENCES} times", USAGE_ERROR)
    try:
        request = _request(settings, arguments)
    except ValueError as error:
        return refuse("generate", error, USAGE_ERROR)
    target = arguments.output or settings.output_dir
    try:
        folder = OutputFolder(writable_folder(target))
    except (OSError, RuntimeError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error)
        return refuse(
            "generate",
            f"cannot save in {target or 'pictures'}: {reason}. Name another folder with --output. Nothing was sent",
        )
    job = _Job(settings, request, arguments.count, folder)
    is_interrupted = False
    try:
        anyio.run(job.run)
    except KeyboardInterrupt:
        is_interrupted = True
    ids = [
        generation.public_id
        for generation in job.generations.values()
        if not (generation.finished or generation.is_unsent)
    ]
    if is_interrupted or (ids and not job.errors):  # an ended deadline can take the cancellation of Ctrl-C with it
        sys.stderr.write(_interrupted(ids, was_submitted=bool(job.generations), sandbox=settings.sandbox))
        return INTERRUPTED
    if job.paths:
        remember_folder(settings, folder.path)
    if arguments.json:
        print_json({"generations": [job.as_dict(number) for number in sorted(job.generations)], "errors": job.errors})
    else:
        job.print()
    if arguments.open:
        for path in job.paths:
            webbrowser.open(path.as_uri())
    return FAILED if job.errors else 0


def _interrupted(ids: list[str], *, was_submitted: bool, sandbox: bool) -> str:
    """What a person should know who has pressed Ctrl-C.

    Args:
        ids: Of the images that are being made.
        was_submitted: Whether the answer to the submit has come.
        sandbox: Whether the API was the embedded sandbox, which ends with the command.
    """
    if sandbox:
        return "\nStopped. The sandbox has ended, and its pictures were free.\n"
    if ids:
        commands = "".join(f"  nano-banana-mcp save {public_id}\n" for public_id in ids)
        return f"\nStopped waiting. The API goes on, and charges for it. Get the pictures later with\n{commands}"
    if was_submitted:
        return ""
    return "\nStopped. If the request was sent already, it is charged: `nano-banana-mcp history` shows it.\n"


def _request(settings: Settings, arguments: argparse.Namespace) -> SubmitRequest:
    """The request of the command line, checked as the tool checks its arguments.

    Raises:
        ValueError: An argument is unusable.
    """
    images = [image if image.lower().startswith(_REMOTE) else str(_file(image)) for image in arguments.image]
    values: dict[str, tuple[Any, Any]] = {
        "prompt": (tool_arguments.Prompt, " ".join(arguments.prompt)),
        "images": (tool_arguments.References, images),
        "model": (tool_arguments.Model, arguments.model),
        "aspect_ratio": (tool_arguments.AspectRatio, arguments.aspect_ratio),
        "image_size": (tool_arguments.ImageSize, arguments.image_size),
    }
    checked: dict[str, Any] = {}
    for name, (kind, value) in values.items():
        try:
            checked[name] = TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise ValueError(f"{'PROMPT' if name == 'prompt' else f'--{name}'.replace('_', '-')}: {reason}") from None
    return SubmitRequest(
        **{**checked, "model": checked["model"] or settings.model, "images": checked["images"] or None}
    )


def _file(name: str) -> Path:
    try:
        path = Path(name).expanduser().resolve(strict=True)
    except (OSError, RuntimeError):
        raise ValueError(f"--image: there is no file {name}") from None
    return path


class _Job:
    """The images of one command line.

    Attributes:
        generations: The latest state of each request, by its number.
        paths: The saved files.
        errors: What went wrong, for a person.
    """

    def __init__(self, settings: Settings, request: SubmitRequest, count: int, folder: OutputFolder) -> None:
        self.generations: dict[int, Generation] = {}
        self.errors: list[str] = []
        self._files: dict[int, list[Path]] = {}
        self._request = request
        self._count = count
        self._folder = folder
        # The person names these files, so their folders may be read. The job saves by itself and exports nothing.
        folders = {str(Path(image).parent) for image in request.images or () if os.path.isabs(image)}  # noqa: PTH117
        update = {"output_dir": None, "input_dirs": os.pathsep.join(sorted(folders))}
        self._settings = settings.model_copy(update=update)

    @property
    def paths(self) -> list[Path]:
        return [path for number in sorted(self._files) for path in self._files[number]]

    async def run(self) -> None:
        """Submit all images together, and save each when it is finished."""
        usual_seconds = self._settings.sandbox_seconds if self._settings.sandbox else USUAL_SECONDS
        names = ["picture"] if self._count == 1 else [f"picture {number + 1}" for number in range(self._count)]
        async with open_service(self._settings, local=True) as service:
            with WaitProgress("picture", usual_seconds, sys.stderr) as progress:
                bars = [progress.add(name) for name in names]
                try:
                    submitted = await service.generate(self._request, count=self._count)
                except (DefapiError, ImageError, LimitReached, LedgerError) as error:
                    for bar in bars:
                        bar.finish("failed")
                    self.errors.append(_explained(error))
                    return
                self.generations = dict(enumerate(members(submitted.generation)))
                if submitted.note:
                    self.errors.append(submitted.note)
                async with anyio.create_task_group() as tasks:
                    for number, bar in enumerate(bars):
                        tasks.start_soon(self._finish, service, bar, number)

    async def _finish(self, service: GenerationService, bar: Bar, number: int) -> None:
        """Wait for one image, and save it."""

        async def report(item: GenerationOrBatch, seconds: float) -> None:
            [self.generations[number]] = members(item)
            bar.show(seconds, f"{item.status.value}, {seconds:.0f} s")

        waited = WaitResult(self.generations[number])
        try:
            while waited.generation.is_open and not waited.given_up:
                waited = await service.wait(waited.generation.public_id, WAIT_SECONDS, report)
                [self.generations[number]] = members(waited.generation)
        except LedgerError as error:
            bar.finish("not recorded")
            self.errors.append(error.for_operator)
            return
        generation = self.generations[number]
        bar.finish(generation.status.value)
        if waited.last_error is not None and not generation.finished:
            self.errors.append(f"{generation.public_id}: {explained(waited.last_error)}")
        elif generation.status is not Status.SUCCESS:
            said = generation.message or f"It is {generation.status.value}."
            advice = f" {OutcomeUnknown.hint}" if generation.status is Status.UNKNOWN else ""
            self.errors.append(for_person(f"{generation.public_id}: {said}{advice}"))
        else:
            await self._save(service, generation, number)

    async def _save(self, service: GenerationService, generation: Generation, number: int) -> None:
        self._files[number] = []
        for image in range(len(generation.images)):
            try:
                self._files[number].append(await save(service.images, self._folder, generation, image))
            except (ImageError, NoSuchImage, OSError, LedgerError) as error:
                reason = reason_of(error) if isinstance(error, OSError) else explained(error)
                reason = reason or "the image data is no longer available"
                self.errors.append(
                    f"A picture is paid for but not saved in {self._folder.path}: {sentence(reason)} "
                    f"Try again with `nano-banana-mcp save {generation.public_id}`."
                )

    def as_dict(self, number: int) -> dict[str, Any]:
        """A generation for ``--json``."""
        files = [str(path) for path in self._files.get(number, ())]
        return {**as_dict(self.generations[number]), "files": files}

    def print(self) -> None:
        """Print the path and the price of each image, and what went wrong."""
        for number, paths in sorted(self._files.items()):
            generation = self.generations[number]
            for path in paths:
                sys.stdout.write(f"{path}\n")
            price = "free (sandbox)" if generation.is_sandbox else _price(generation.credits_consumed)
            seconds = generation.elapsed_seconds(generation.finished_at or 0.0)
            took = "" if seconds is None else f", {seconds:.0f} s"
            sys.stdout.write(f"  {price}{took}, {generation.model}, id {generation.public_id}\n")
        for error in dict.fromkeys(self.errors):
            refuse("generate", error)


def _explained(error: DefapiError | ImageError | LimitReached | LedgerError) -> str:
    """Why nothing was submitted, for a person."""
    said = error.for_operator if isinstance(error, LedgerError) else explained(error)
    return f"{said} Nothing was sent, so nothing was charged." if isinstance(error, LedgerError | NotSent) else said


def _price(credits_text: str | None) -> str:
    return "price not reported" if credits_text is None else f"{credits_text} credits"
