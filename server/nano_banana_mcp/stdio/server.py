"""The real server over stdio. Importing this module imports the SDK."""

from __future__ import annotations

import gc
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Set
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import anyio
from mcp.os.win32.utilities import rebind_std_handle_to_fd
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.types import INTERNAL_ERROR, CallToolResult, TextContent

from nano_banana_mcp.app import build_server, serve_stdio
from nano_banana_mcp.common.logging import configure_logging
from nano_banana_mcp.common.supervise import supervise
from nano_banana_mcp.http.signing import SharedStateCodec
from nano_banana_mcp.settings import load_usable_settings, misspelt_variables
from nano_banana_mcp.stdio import manifest
from nano_banana_mcp.stdio.front import REPLAY_ID
from nano_banana_mcp.stdio.messages import ENVELOPE
from nano_banana_mcp.stdio.session import Session
from nano_banana_tools.server import ImageServer

logger = logging.getLogger(__name__)


def serve(session: Session, *, sandbox: bool = False, env_file: Path | None = None) -> None:
    """Serve ``session`` until the client closes it.

    A wrong setting does not end the server, because hosts hide what it writes to stderr: discovery works, and each call
    is answered with the variable and what it must be.
    """
    settings, problem = load_usable_settings(env_file, **({"sandbox": True} if sandbox else {}))
    codec = SharedStateCodec(settings)  # an approval outlives this process
    server = build_server(settings, local=True, sweeps_open_tasks=True, state_codec=codec)
    if problem is not None:
        sys.stderr.write(f"nano-banana-mcp: {problem}\n")
        server.middleware.append(CallRefusal(problem))
    gc.freeze()
    configure_logging(settings.log_level, settings.log_format)
    for warning in misspelt_variables():
        logger.warning(warning)
    if sys.platform == "win32":  # there the event loop takes no signal handlers, and ends at a KeyboardInterrupt
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _divert_standard_streams()
    anyio.run(serve_session, session, server)


async def serve_session(session: Session, server: ImageServer) -> None:
    """Serve ``session`` with ``server`` from the held line on."""
    stdin = anyio.wrap_file(cast(io.TextIOWrapper, ReplayedInput(session)))
    stdout = anyio.wrap_file(DeduplicatedOutput(session))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(supervise, "Writing the answers for the next start", _write_missing_manifest)
        await serve_stdio(server, stdin, stdout)
        tasks.cancel_scope.cancel()


async def _write_missing_manifest() -> None:
    folder = manifest.state_folder(os.environ)
    versions = manifest.installed_versions()
    if folder is None or not all(versions) or manifest.load(os.environ) is not None:
        return
    from nano_banana_mcp.stdio import manifest_builder  # only needed once a version

    answers = await manifest_builder.build_answers()
    with suppress(OSError):  # the next start is a full one again
        manifest_builder.write(Path(manifest.state_path(folder, versions)), answers, versions)


def _divert_standard_streams() -> None:
    """Give the null device to whatever else reads standard input, and stderr to whatever else prints."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    if sys.platform == "win32":
        for number in (0, 1):
            with suppress(OSError):
                rebind_std_handle_to_fd(number)


class ReplayedInput:
    """What the real server reads: the session so far, the held line, then whatever the client sends."""

    def __init__(self, session: Session) -> None:
        lines = b"".join([*session.front.handshake, *session.front.listens.values(), session.held])
        self._earlier = _as_text(io.BytesIO(lines))
        self._later = _as_text(session.incoming)

    def readline(self) -> str:
        """The next line; empty at the end."""
        return self._earlier.readline() or self._later.readline()


def _as_text(stream: Any) -> io.TextIOWrapper:
    # As the SDK reads, but for the byte order mark that some programs write first.
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace")


class DeduplicatedOutput(io.TextIOWrapper):
    """What the real server writes, without the answers that the client has had from the front."""

    def __init__(self, session: Session) -> None:
        super().__init__(cast(Any, session.outgoing), encoding="utf-8", newline="\n", line_buffering=True)
        self._session = session
        self._expected: set[str | int] = {REPLAY_ID} if session.front.handshake else set()
        self._expected |= session.front.listens.keys()

    def write(self, text: str) -> int:
        """Write one message, which ends with a line feed."""
        if self._expected and (repeated := _repeated(text, self._expected)) is not None:
            self._expected.discard(repeated)
            return len(text)
        self._session.was_answered = True
        return super().write(text)


def _repeated(text: str, expected: Set[str | int]) -> str | int | None:
    """The id of the request that this message answers a second time."""
    message = json.loads(text)
    if message.get("id") == REPLAY_ID and "method" not in message:
        return REPLAY_ID
    if message.get("method") != "notifications/subscriptions/acknowledged":
        return None
    request_id: str | int | None = message["params"]["_meta"][f"{ENVELOPE}subscriptionId"]
    return request_id if request_id in expected else None


class CallRefusal(ServerMiddleware[Any]):
    """Answers each call with what is wrong in the settings.

    Args:
        problem: One line a variable.
    """

    def __init__(self, problem: str) -> None:
        self._text = (
            f"The settings of this server are wrong. {problem}. Nothing was sent to the API, so nothing was charged. "
            "Correct this in the configuration of the server, and restart it."
        )

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Refuse what needs the settings."""
        if ctx.method == "tools/call":
            return CallToolResult(content=[TextContent(text=self._text)], is_error=True)
        if ctx.method in ("resources/read", "completion/complete") or ctx.method.startswith("tasks/"):
            raise MCPError(INTERNAL_ERROR, self._text)
        return await call_next(ctx)
