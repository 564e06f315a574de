"""``delete``: removes requests and uploads from the ledger, with the bytes of their images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path

from nano_banana_mcp.commands.console import FAILED, NotSelected, printable, refuse, select, select_batch
from nano_banana_mcp.commands.output_folders import exported_files
from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.generations.batches import is_batch_id
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.generations.uploads import UPLOAD_PREFIX, Upload
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.ledger.queries import SqlLedger
from nano_banana_mcp.media.image_folder import ImageFolder
from nano_banana_mcp.media.image_store import delete_stored
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import images_folder, open_database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument(
        "ids",
        nargs="+",
        metavar="ID",
        help="the id of a request, a batch or an upload; of the first two also its beginning",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask at a terminal")
    parser.add_argument(
        "--force", action="store_true", help="even if its end is not known: a paid picture may then be lost"
    )
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Delete them all, or none if an id is wrong. Returns the exit code."""
    try:
        with closing(open_database(settings)) as ledger:
            uploads = {text: _find_upload(ledger, text) for text in arguments.ids if text.startswith(UPLOAD_PREFIX)}
            items = [item for text in arguments.ids if text not in uploads for item in _select_all(ledger, text)]
        selected = {item.generation_id: item for item in items}
        for generation in selected.values():
            if not (generation.finished or generation.is_unsent or arguments.force):
                reason = f"{generation.public_id} is {generation.status.value}; a paid picture could be lost"
                return refuse("delete", f"{reason}. Update it with `nano-banana-mcp history settle`, or add --force")
        if not (arguments.yes or _is_confirmed(list(selected.values()), list(uploads.values()))):
            return FAILED
        return _delete(settings, list(selected.values()), list(uploads.values()))
    except NotSelected as error:
        return refuse("delete", error)
    except LedgerError as error:
        return refuse("delete", error.for_operator)


def _select_all(ledger: SqlLedger, text: str) -> list[Generation]:
    return ledger.find_batch(select_batch(ledger, text)) if is_batch_id(text) else [select(ledger, text)]


def _find_upload(ledger: SqlLedger, reference_id: str) -> Upload:
    upload = ledger.find_upload(reference_id)
    if upload is None:
        raise NotSelected(f"there is no upload {printable(reference_id)[:80]}. `nano-banana-mcp gallery` shows them")
    return upload


def _is_confirmed(generations: list[Generation], uploads: list[Upload]) -> bool:
    if not sys.stdin.isatty():
        return True
    for upload in uploads:
        sys.stdout.write(f"{upload.reference_id}  upload, {upload.width} x {upload.height}\n")
    for generation in generations:
        sys.stdout.write(f"{generation.public_id}  {printable(generation.prompt or '')[:60]}\n")
    sys.stdout.write("Delete for good, with the stored pictures? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _delete(settings: Settings, generations: list[Generation], uploads: list[Upload]) -> int:
    with closing(open_database(settings)) as ledger:
        deleted = [ledger.delete(generation.generation_id, unfinished=True) for generation in generations]
        for upload in uploads:
            ledger.delete_upload(upload.reference_id)
    folder = images_folder(settings)
    successes = []
    for generation in filter(None, deleted):
        is_deleted = _delete_bytes(generation.public_id, folder, partial(delete_stored, generation=generation))
        successes.append(is_deleted)
        if is_deleted:
            for path in chain.from_iterable(exported_files(settings, generation)):
                sys.stdout.write(f"  The saved file was kept. Delete it yourself: {path}\n")
    for upload in uploads:
        successes.append(_delete_bytes(upload.reference_id, folder, partial(_delete_upload, upload=upload)))
    return 0 if all(successes) else FAILED


def _delete_upload(folder: Path, upload: Upload) -> None:
    ImageFolder(folder).delete(upload.reference_id)


def _delete_bytes(public_id: str, folder: Path | None, delete: Callable[[Path], None]) -> bool:
    """Delete what is stored in the folder for an id, and print what came of it. Returns whether it worked."""
    try:
        if folder is not None:
            delete(folder)
    except OSError as error:
        refuse("delete", f"the bytes of {public_id} cannot be deleted: {reason_of(error)}")
        return False
    sys.stdout.write(f"{public_id} is deleted.\n")
    return True
