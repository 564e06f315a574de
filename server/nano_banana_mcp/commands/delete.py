"""``delete``: removes requests from the ledger, with the bytes of their images."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing

from nano_banana_mcp.commands.console import FAILED, NotSelected, printable, refuse, select
from nano_banana_mcp.commands.history import exported_files
from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.ledger.base import LedgerError
from nano_banana_mcp.media.image_store import delete_stored
from nano_banana_mcp.settings import Settings
from nano_banana_mcp.storage import images_folder, open_database


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("ids", nargs="+", metavar="ID", help="the id that `history` shows, or its beginning")
    parser.add_argument("--yes", action="store_true", help="do not ask at a terminal")
    parser.add_argument(
        "--force", action="store_true", help="even if its end is not known: a paid picture may then be lost"
    )
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Delete them all, or none if an id is wrong. Returns the exit code."""
    try:
        with closing(open_database(settings)) as ledger:
            selected = {item.generation_id: item for item in (select(ledger, text) for text in arguments.ids)}
        for generation in selected.values():
            if not (generation.finished or arguments.force):
                reason = f"{generation.public_id} is {generation.status.value}; a paid picture could be lost"
                return refuse("delete", f"{reason}. Update it with `nano-banana-mcp history settle`, or add --force")
        if not (arguments.yes or _is_confirmed(list(selected.values()))):
            return FAILED
        return _delete(settings, list(selected.values()))
    except NotSelected as error:
        return refuse("delete", error)
    except LedgerError as error:
        return refuse("delete", error.for_operator)


def _is_confirmed(generations: list[Generation]) -> bool:
    if not sys.stdin.isatty():
        return True
    for generation in generations:
        sys.stdout.write(f"{generation.public_id}  {printable(generation.prompt or '')[:60]}\n")
    sys.stdout.write("Delete for good, with the stored pictures? [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _delete(settings: Settings, generations: list[Generation]) -> int:
    with closing(open_database(settings)) as ledger:
        deleted = [ledger.delete(generation.generation_id, unfinished=True) for generation in generations]
    failed = False
    folder = images_folder(settings)
    for generation in filter(None, deleted):
        try:
            if folder is not None:
                delete_stored(folder, generation)
        except OSError as error:
            failed = True
            refuse("delete", f"the bytes of {generation.public_id} cannot be deleted: {reason_of(error)}")
            continue
        sys.stdout.write(f"{generation.public_id} is deleted.\n")
        for path in exported_files(settings, generation):
            sys.stdout.write(f"  Its file stays, delete it yourself: {path}\n")
    return FAILED if failed else 0
