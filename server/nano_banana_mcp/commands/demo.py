"""``demo``: a real client and a real server process make an image, with its progress on the terminal."""

from __future__ import annotations

import argparse
import base64
import errno
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

from nano_banana_mcp.app import stored_key_of
from nano_banana_mcp.commands.console import FAILED, for_person, key_advice
from nano_banana_mcp.commands.output_folders import remember_folder
from nano_banana_mcp.commands.progress import USUAL_SECONDS, WaitProgress
from nano_banana_mcp.common.files import reason_of
from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.saving.metadata import ImageMetadata
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.settings import Settings

DEFAULT_PROMPT = "a lighthouse at dawn"
WAIT_SECONDS = 120


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to its parser."""
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to draw (default: a lighthouse at dawn)")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where to save it (default: NANO_BANANA_OUTPUT_DIR, else ./pictures)",
    )
    parser.set_defaults(run=run)


def run(settings: Settings, arguments: argparse.Namespace) -> int:
    """Make one image. Returns the exit code."""
    is_sandbox = settings.sandbox or (settings.usable_key or stored_key_of(settings)()) is None
    if settings.sandbox:
        _print("Sandbox: the built-in stand-in for the API draws the picture; nothing is charged.")
    elif is_sandbox:
        _print(f"{settings.key_problem} So this is the sandbox: the built-in stand-in draws; nothing is charged.")
        _print(f"For real pictures: {key_advice()}")
    else:
        _print(f"The real API at {settings.base_url}: this picture costs credits.")
    output = arguments.output or settings.output_dir
    try:
        folder = OutputFolder(writable_folder(output))
    except OSError as error:
        _print(f"--output: cannot save in {output}: {reason_of(error)}. Nothing was sent.")
        return FAILED
    # -P: a file of the user's called mcp.py or httpx.py must not be imported.
    server = ["-P", "-m", "nano_banana_mcp"]
    server += ["--sandbox"] if is_sandbox else []
    server += ["--env-file", str(arguments.env_file.absolute())] if arguments.env_file else []
    usual_seconds = settings.sandbox_seconds if is_sandbox else USUAL_SECONDS
    prompt = " ".join(arguments.prompt).strip() or DEFAULT_PROMPT
    code: int = anyio.run(_make_image, server, prompt, folder, usual_seconds)
    if code == 0:
        remember_folder(settings, folder.path)
    return code


async def _make_image(server: list[str], prompt: str, folder: OutputFolder, usual_seconds: float) -> int:
    environment = {**os.environ, "NANO_BANANA_CONFIRM": "never"}  # a person typed the command
    parameters = StdioServerParameters(command=sys.executable, args=server, env=environment)
    began = time.monotonic()
    async with Client(stdio_client(parameters)) as client:
        names = ", ".join(tool.name for tool in (await client.list_tools()).tools)
        _print(f"The server runs as a child process over stdio ({time.monotonic() - began:.1f} s). Tools: {names}")
        _print(f"\ngenerate_image  “{prompt}”")
        submitted = await client.call_tool("generate_image", {"prompt": prompt})
        if submitted.is_error:
            return _failed(submitted)
        task_id = _facts(submitted)["task_id"]
        _print(f"                task {task_id}\n")
        with WaitProgress("wait_for_image", usual_seconds, sys.stdout) as shown:
            bar = shown.add()

            async def report(progress: float, total: float | None, message: str | None) -> None:
                bar.show(progress, message or "")

            result = await client.call_tool(
                "wait_for_image",
                {"task_id": task_id, "timeout_seconds": WAIT_SECONDS},
                read_timeout_seconds=WAIT_SECONDS + 30,
                progress_callback=report,
            )
            facts = _facts(result) if result.structured_content else {}
            if facts.get("status") == "success":
                bar.finish("success")
        if result.is_error or not facts.get("finished"):
            return _failed(result)
        _print(f"                {facts['credits_consumed']} credits, {facts['elapsed_seconds']:g} s\n")
        created_at = time.time() - facts["elapsed_seconds"]
        saved = []
        for number, image in enumerate(facts["images"]):
            about = ImageMetadata(
                task_id=task_id,
                number=number,
                created_at=created_at,
                prompt=prompt,
                model=facts["model"],
                url=image["url"],
                credits=facts["credits_consumed"],
                is_from_sandbox="--sandbox" in server,
            )
            saved.append(await _save(client, image, folder, about))
    if any((image["url"] or "").startswith("http://127.0.0.1") for image in facts["images"]):
        _print("      (the sandbox served the URL and has ended; the file stays)")
    _print("\nEvery picture is also stored for `nano-banana-mcp gallery` and listed by `nano-banana-mcp history`.")
    return 0 if all(saved) else FAILED


async def _save(client: Client, image: dict[str, Any], folder: OutputFolder, about: ImageMetadata) -> bool:
    """Print where an image is, and save it. Returns whether it was saved."""
    if image["url"]:
        _print(f"URL   {image['url']}")
    try:
        contents: Any = (await client.read_resource(image["resource_uri"])).contents[0]
    except MCPError as error:
        _print(f"      It could not be saved: {error.message}")
        return False
    try:
        path = folder.save(EncodedImage(base64.b64decode(contents.blob), contents.mime_type), about)
    except OSError as error:
        _print(f"      It could not be saved in {folder.path}: {reason_of(error)}")
        return False
    _print(f"File  {path}  ({path.stat().st_size:,} bytes, {contents.mime_type})")
    return True


def writable_folder(wanted: Path | None) -> Path:
    """The folder to save in: ``wanted``, else ``./pictures``, or a temporary one if that cannot be written to."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        if not os.access(wanted, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return wanted.absolute()
    try:
        folder = Path.cwd() / "pictures"
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError
    except OSError:
        return Path(tempfile.mkdtemp(prefix="nano-banana-"))
    return folder


def _facts(result: Any) -> dict[str, Any]:
    facts: dict[str, Any] = result.structured_content
    return facts


def _failed(result: Any) -> int:
    facts = result.structured_content or {}
    message = facts.get("message")  # the text besides it is for a model
    _print(for_person(message or "\n".join(item.text for item in result.content if item.type == "text")))
    return FAILED


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
