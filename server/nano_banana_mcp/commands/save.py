"""``save``: one task's pictures, into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio

from nano_banana_mcp.app import open_service
from nano_banana_mcp.defapi.errors import DefapiError
from nano_banana_mcp.defapi.schemas import TASK_ID
from nano_banana_mcp.generations.models import Generation, Status
from nano_banana_mcp.images.errors import ImageError
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.media.export import save
from nano_banana_mcp.media.image_store import NoSuchImage
from nano_banana_mcp.service.generation_service import GenerationService
from nano_banana_mcp.settings import Settings

USAGE_ERROR = 2


def run(settings: Settings, task_id: str, output: Path | None) -> int:
    """Save the pictures and print where they are. Returns 0 if all are saved, 1 if not, 2 if it was asked wrongly."""
    try:  # no shell expands `--output=~/Pictures`
        folder = settings.output_dir if output is None else output.expanduser().absolute()
    except RuntimeError:
        return _refuse(f"--output names the home of a user who does not exist: {output}", USAGE_ERROR)
    if folder is None:
        return _refuse("name a folder with --output, or set NANO_BANANA_OUTPUT_DIR", USAGE_ERROR)
    if not TASK_ID.fullmatch(task_id):
        return _refuse(f"{task_id[:80]!r} cannot be a task id; `nano-banana-mcp history` lists them", USAGE_ERROR)
    # Here the pictures are saved one by one, with words about each; the studio need not do it on its own.
    return anyio.run(_save, settings.model_copy(update={"output_dir": None}), task_id, OutputFolder(folder))


async def _save(settings: Settings, task_id: str, folder: OutputFolder) -> int:
    async with open_service(settings) as service:
        try:
            known = await _ended(service, task_id)
        except DefapiError as error:
            return _refuse(f"{error.message} {error.hint}", 1)
        if known.status is not Status.SUCCESS:
            why = f": {known.message}" if known.message else ""
            return _refuse(f"there is no picture to save; the task is {known.status.value}{why}", 1)
        saved = [await _save_one(service, folder, known, number) for number in range(len(known.images))]
    return 0 if all(saved) else 1


async def _ended(service: GenerationService, public_id: str) -> Generation:
    """The task as it is now; whosever it is, for who runs this command runs the server."""
    known = await service.ledger.find(public_id)
    return (
        known
        if known is not None and known.finished
        else await service.look(public_id, known.principal if known else "")
    )


async def _save_one(service: GenerationService, folder: OutputFolder, known: Generation, number: int) -> bool:
    try:
        folder.make()
        path = folder.find(known.public_id, number)
        path = path or await save(service.album, folder, known, number)
    except ImageError as error:
        _refuse(f"picture {number}: {error}", 1)
    except NoSuchImage:
        _refuse(f"picture {number}: its bytes are gone", 1)
    except OSError as error:
        _refuse(f"cannot save in {folder.path}: {error.strerror}", 1)
    else:
        sys.stdout.write(f"{path}\n")
        return True
    return False


def _refuse(words: str, code: int) -> int:
    sys.stderr.write(f"nano-banana-mcp save: {words}\n")
    return code
