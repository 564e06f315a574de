"""``save``: one task's images, into a folder."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path

import anyio

from nano_banana_mcp.app import open_service
from nano_banana_mcp.commands.console import FAILED, USAGE_ERROR, NotSelected, explained, refuse, select, select_batch
from nano_banana_mcp.commands.demo import writable_folder
from nano_banana_mcp.commands.output_folders import remember_folder
from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.defapi.schemas import TASK_ID
from nano_banana_mcp.generations.batches import GenerationOrBatch, is_batch_id, located_images
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.export import save
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import open_database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("task_id", metavar="TASK_ID", help="the id that `history` shows, or its beginning")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to save (default: NANO_BANANA_OUTPUT_DIR, else ./pictures)",
    )
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Save the images and print their paths.

    Returns:
        0 if all are saved, 1 if not, 2 for a wrong command line.
    """
    task_id, output = arguments.task_id, arguments.output
    try:  # no shell expands `--output=~/Pictures`
        folder = settings.output_dir if output is None else output.expanduser().absolute()
    except RuntimeError:
        return refuse("save", f"--output names the home of a user who does not exist: {output}", USAGE_ERROR)
    if not TASK_ID.fullmatch(task_id):
        reason = f"{task_id[:80]!r} is not a task id. `nano-banana-mcp history` lists the ids"
        return refuse("save", reason, USAGE_ERROR)
    try:
        task_id = _whole_id(settings, task_id)
    except NotSelected as error:
        return refuse("save", error)
    except LedgerError as error:
        return refuse("save", error.for_operator)
    code: int = anyio.run(_save, settings, task_id, folder)
    return code


def _whole_id(settings: Settings, task_id: str) -> str:
    """The id that begins with ``task_id``; the API may have a task that the ledger does not have."""
    with closing(open_database(settings)) as ledger:
        if is_batch_id(task_id):
            return select_batch(ledger, task_id)
        if not ledger.find_by_prefix(task_id, limit=1):
            return task_id
        return select(ledger, task_id).public_id


async def _save(settings: Settings, task_id: str, path: Path | None) -> int:
    """Save the images in the folder at ``path``; None is the default of `generate`, made only for an image."""
    # Without the setting, the service exports nothing by itself: this command reports on each image.
    async with open_service(settings.model_copy(update={"output_dir": None})) as service:
        try:
            item = await _current(service, task_id)
        except DefapiError as error:
            return refuse("save", explained(error))
        images = located_images(item)
        if not images:
            reason = f": {item.message}" if item.message else ""
            return refuse("save", f"there is no picture to save; the task is {item.status.value}{reason}")
        folder = OutputFolder(writable_folder(None) if path is None else path)
        saved = [await _save_one(service, folder, generation, number) for generation, number in images]
    if not all(saved):
        return FAILED
    remember_folder(settings, folder.path)
    return 0


async def _current(service: GenerationService, public_id: str) -> GenerationOrBatch:
    """The current state of a task or batch of any caller: the person who runs this command runs the server."""
    if is_batch_id(public_id):
        generations = await service.ledger.find_batch(public_id)
        generation = generations[0] if generations else None
    else:
        generation = await service.ledger.find(public_id)
        if generation is not None and generation.finished:
            return generation
    return await service.get(public_id, generation.principal if generation else "")


async def _save_one(service: GenerationService, folder: OutputFolder, generation: Generation, number: int) -> bool:
    try:
        folder.make()
        path = folder.find(generation.public_id, number)
        if path is None:
            path = await save(service.images, folder, generation, number)
    except ImageError as error:
        refuse("save", f"picture {number}: {explained(error)}")
    except NoSuchImage:
        refuse("save", f"picture {number}: it is no longer available")
    except OSError as error:
        refuse("save", f"cannot save in {folder.path}: {reason_of(error)}")
    else:
        sys.stdout.write(f"{path}\n")
        return True
    return False
