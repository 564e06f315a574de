"""Folders that the commands saved pictures in, so that `history` and `delete` find the files there."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from nano_banana_mcp.common.files import atomic_write, private_folder, reason_of
from nano_banana_mcp.generations.models import Generation
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.settings import Settings, SettingsError

FILE_NAME = "output-folders.json"
"""In the state folder: a list of paths, the newest first."""

MAX_FOLDERS = 10
"""Each is searched for a file that the others do not have."""

logger = logging.getLogger(__name__)


def remember_folder(settings: Settings, folder: Path) -> None:
    """Add a folder that pictures were saved in. Where that fails, `history` shows the stored copies instead."""
    path = os.path.abspath(folder)  # noqa: PTH100 - links stay as the person gave them
    folders = _remembered(settings)
    if settings.output_dir == folder or path in folders[:1]:
        return
    folders = [path, *(other for other in folders if other != path)][:MAX_FOLDERS]
    try:
        state = private_folder(settings.state_path)
        atomic_write(state / FILE_NAME, json.dumps(folders).encode())
    except SettingsError as error:
        logger.info("the output folder is not remembered: %s", error)
    except OSError as error:
        logger.info("the output folder is not remembered: %s", reason_of(error))


def exported_files(settings: Settings, generation: Generation) -> Iterator[list[Path]]:
    """Yield the saved files of a generation in each folder that has any: the output folder first, then the newest."""
    folders = [settings.output_dir] if settings.output_dir else []
    for folder in [*folders, *map(Path, _remembered(settings))]:
        output = OutputFolder(folder)
        try:
            paths = [output.find(generation.public_id, number) for number in range(len(generation.images))]
        except OSError:
            continue
        if files := [path for path in paths if path is not None]:
            yield files


def _remembered(settings: Settings) -> list[str]:
    try:
        folders = json.loads((settings.state_path / FILE_NAME).read_bytes())
    except (OSError, ValueError, SettingsError):
        return []
    return [folder for folder in folders if isinstance(folder, str)] if isinstance(folders, list) else []
