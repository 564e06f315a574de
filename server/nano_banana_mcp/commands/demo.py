"""``demo``: a real client and a real server process make a picture, and a person sees it arrive.

And ``sandbox``: the stand-in for the image API, alone.
"""

from __future__ import annotations

import base64
import errno
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from nano_banana_mcp.images.image import EncodedImage
from nano_banana_mcp.images.saving.metadata import ImageMetadata
from nano_banana_mcp.images.saving.output_folder import OutputFolder
from nano_banana_mcp.settings import Settings

DEFAULT_PROMPT = "a lighthouse at dawn"
WAIT_SECONDS = 120
USUAL_SECONDS = 45.0
"""What a real picture usually takes: the API's other clients expect 30-60 s."""


def run(settings: Settings, prompt: str, output: Path | None, env_file: Path | None) -> int:
    """Make one picture. Returns the exit code."""
    sandbox = settings.sandbox or settings.usable_key is None
    if settings.sandbox:
        _say("Sandbox: the built-in stand-in for the API draws the picture; nothing is charged.")
    elif sandbox:
        _say(f"{settings.key_problem} So this is the sandbox: the built-in stand-in draws; nothing is charged.")
        _say("Set DEFAPI_API_KEY to make a real picture.")
    else:
        _say(f"The real API at {settings.base_url}: this picture costs credits.")
    try:
        folder = OutputFolder(_writable(output or settings.output_dir))
    except OSError as error:
        _say(f"--output: cannot save in {output or settings.output_dir}: {error.strerror}. Nothing was sent.")
        return 1
    # -P: a file of the user's called mcp.py or httpx.py is not ours to import.
    arguments = ["-P", "-m", "nano_banana_mcp"]
    arguments += ["--sandbox"] if sandbox else []
    arguments += ["--env-file", str(env_file.absolute())] if env_file else []
    usual = settings.sandbox_seconds if sandbox else USUAL_SECONDS
    return anyio.run(_make_image, arguments, prompt.strip() or DEFAULT_PROMPT, folder, usual)


async def _make_image(server: list[str], prompt: str, folder: OutputFolder, usual_seconds: float) -> int:
    from mcp.client import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    parameters = StdioServerParameters(command=sys.executable, args=server, env=dict(os.environ))
    began = time.monotonic()
    async with Client(stdio_client(parameters)) as client:
        names = ", ".join(tool.name for tool in (await client.list_tools()).tools)
        _say(f"The server runs as a child process over stdio ({time.monotonic() - began:.1f} s). Tools: {names}")
        _say(f"\ngenerate_image  “{prompt}”")
        made = await client.call_tool("generate_image", {"prompt": prompt})
        if made.is_error:
            return _failed(made)
        task_id = _facts(made)["task_id"]
        _say(f"                task {task_id}\n")
        bar = _Bar("wait_for_image ", usual_seconds)
        result = await client.call_tool(
            "wait_for_image",
            {"task_id": task_id, "timeout_seconds": WAIT_SECONDS},
            read_timeout_seconds=WAIT_SECONDS + 30,
            progress_callback=bar.show,
        )
        facts = _facts(result) if result.structured_content else {}
        bar.end(full=facts.get("status") == "success")
        if result.is_error or not facts.get("finished"):
            return _failed(result)
        _say(f"                {facts['credits_consumed']} credits, {facts['elapsed_seconds']:g} s\n")
        made_at = time.time() - facts["elapsed_seconds"]
        saved = [
            await _save(
                client,
                image,
                folder,
                ImageMetadata(
                    task_id=task_id,
                    number=number,
                    created_at=made_at,
                    prompt=prompt,
                    model=facts["model"],
                    url=image["url"],
                    credits=facts["credits_consumed"],
                    is_from_sandbox="--sandbox" in server,
                ),
            )
            for number, image in enumerate(facts["images"])
        ]
    if any((image["url"] or "").startswith("http://127.0.0.1") for image in facts["images"]):
        _say("      (the URL was the sandbox's own and ended with it; the file stays)")
    return 0 if all(saved) else 1


async def _save(client: Any, image: dict[str, Any], folder: OutputFolder, about: ImageMetadata) -> bool:
    """Print where a picture is, and save it. Returns whether that worked."""
    from mcp.shared.exceptions import MCPError

    if image["url"]:
        _say(f"URL   {image['url']}")
    try:
        contents = (await client.read_resource(image["resource_uri"])).contents[0]
    except MCPError as error:
        _say(f"      It could not be saved: {error.message}")
        return False
    try:
        path = folder.save(EncodedImage(base64.b64decode(contents.blob), contents.mime_type), about)
    except OSError as error:
        _say(f"      It could not be saved in {folder.path}: {error.strerror}")
        return False
    _say(f"File  {path}  ({path.stat().st_size:,} bytes, {contents.mime_type})")
    return True


def _writable(wanted: Path | None) -> Path:
    """The folder to save in: the one asked for, ``./pictures``, or a temporary one where that cannot be."""
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
    _say("\n".join(item.text for item in result.content if item.type == "text"))
    return 1


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Bar:
    """A progress bar over the usual time; on a terminal it moves, elsewhere it is a line per report."""

    def __init__(self, label: str, usual_seconds: float) -> None:
        self._label = label
        self._usual = max(usual_seconds, 0.1)
        self._moves = sys.stdout.isatty()
        self._width = max(10, min(40, shutil.get_terminal_size().columns - 45))

    async def show(self, progress: float, total: float | None, message: str | None) -> None:
        """Called by the client for each progress notification."""
        self._draw(min(0.95, progress / self._usual), message or "")

    def end(self, *, full: bool) -> None:
        """Draw the last state."""
        if full:
            self._draw(1.0, "success")
        if self._moves:
            _say("")

    def _draw(self, share: float, message: str) -> None:
        filled = round(share * self._width)
        line = f"{self._label} [{'█' * filled}{'·' * (self._width - filled)}] {message}"
        sys.stdout.write(f"\r\x1b[K{line}" if self._moves else f"{line}\n")
        sys.stdout.flush()


def sandbox(settings: Settings, host: str, port: int, directives: str) -> int:
    """Serve until interrupted. Returns the exit code."""
    from nano_banana_sandbox.config import SandboxConfig
    from nano_banana_sandbox.faults import DirectiveError
    from nano_banana_sandbox.server import run_sandbox

    def announce(url: str) -> None:
        sys.stdout.write(
            f"The sandbox listens on {url} (nothing is charged). Use it with\n"
            f"  DEFAPI_BASE_URL={url} DEFAPI_API_KEY=dk-sandbox nano-banana-mcp\n"
            f"What it was asked for: {url}/_sandbox/stats and /_sandbox/tasks. Ctrl-C ends it.\n"
        )
        sys.stdout.flush()

    try:
        config = SandboxConfig(seconds=settings.sandbox_seconds, directives=directives)
        anyio.run(lambda: run_sandbox(config, host, port, announce=announce))
    except (OSError, DirectiveError, OverflowError) as error:
        sys.stderr.write(f"nano-banana-mcp sandbox: {error}\n")
        return 1
    return 0
