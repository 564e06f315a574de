"""A client on standard input and output, served by the front until the real server is needed."""

from __future__ import annotations

import json
import os
import re
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from typing import BinaryIO

from nano_banana_mcp.stdio import manifest
from nano_banana_mcp.stdio.front import Front
from nano_banana_mcp.stdio.messages import Message, to_line

PLAIN_ARGUMENTS: tuple[list[str], ...] = ([], ["serve"], ["--sandbox"], ["serve", "--sandbox"], ["--sandbox", "serve"])
BUSY_SECONDS = 0.5
_BOOLEAN = re.compile("0|1|true|false|yes|no|on|off", re.IGNORECASE)
_READ_SETTINGS = ("NANO_BANANA_STATE_DIR", "NANO_BANANA_LEDGER_URL", "NANO_BANANA_CONFIRM", "NANO_BANANA_SANDBOX")


class Session:
    """A client on standard input and output, and the front that answers it.

    Args:
        front: Answers until a line has to be held.
        incoming: What the client sends.
        outgoing: What the client receives.

    Attributes:
        held: The line that the real server must answer first.
        was_answered: Whether the real server has answered anything.
    """

    def __init__(self, front: Front, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self.front = front
        self.incoming = incoming
        self.outgoing = outgoing
        self.held = b""
        self.was_answered = False

    def converse(self) -> bool:
        """Answer lines until one has to be held. Returns whether the client is still there."""
        try:
            line = self.incoming.readline().removeprefix(BOM_UTF8)
            while line:
                answer = self.front.answer(line)
                if answer is None:
                    self.held = line
                    return True
                if answer:
                    self.send(answer)
                line = self.incoming.readline()
            error = {"code": -32000, "message": "Connection closed"}  # as the SDK ends open subscriptions
            self.send(b"".join(to_line({"jsonrpc": "2.0", "id": key, "error": error}) for key in self.front.listens))
        except OSError:
            pass  # the client closed its end of our output
        return False

    def send(self, lines: bytes) -> None:
        """Write to the client at once.

        Raises:
            OSError: The client has closed the stream.
        """
        try:
            self.outgoing.write(lines)
            self.outgoing.flush()
        except OSError:
            # Python would report the unsent bytes again when it closes the stream.
            with open(os.devnull, "wb") as null:
                os.dup2(null.fileno(), self.outgoing.fileno())
            raise

    def fail(self, problem: str) -> None:
        """Answer the held request with an error: the real server could not start.

        Raises:
            OSError: The client has closed the stream.
        """
        try:
            request_id = json.loads(self.held)["id"]
        except (ValueError, LookupError, TypeError):
            return  # not a request
        if type(request_id) in (int, str):
            error = {"code": -32603, "message": problem}
            self.send(to_line({"jsonrpc": "2.0", "id": request_id, "error": error}))


def open_session(arguments: Sequence[str], environment: Mapping[str, str]) -> Session | None:
    """A session for a plain stdio command; None if the real server must start at once."""
    if list(arguments) not in PLAIN_ARGUMENTS or not _has_usual_settings(environment):
        return None
    answers = manifest.load(environment)
    if answers is None:
        return None
    if environment.get("NANO_BANANA_CONFIRM") not in (None, "", "never"):
        answers = _without_tools(answers)
    try:
        return standard_session(answers, environment)
    except OSError:
        return None  # there is no standard input or output


def standard_session(answers: manifest.Answers, environment: Mapping[str, str]) -> Session:
    """A session on standard input and output; with an empty manifest, the real server answers everything.

    Raises:
        OSError: There is no standard input or output.
    """
    # Duplicates, because the real server gives the numbers 0 and 1 to the null device and stderr.
    incoming = os.fdopen(os.dup(0), "rb", closefd=False)
    outgoing = os.fdopen(os.dup(1), "wb", closefd=False)
    return Session(Front(answers, lambda: list_images(environment)), incoming, outgoing)


def list_images(environment: Mapping[str, str]) -> list[Message] | None:
    """The resources of the images in the SQLite ledger; None if the ledger is another one or cannot be read."""
    folder = manifest.state_folder(environment)
    if folder is None or environment.get("NANO_BANANA_LEDGER_URL"):
        return None
    path = os.path.join(folder, "ledger.sqlite3")
    if not os.path.lexists(path):
        return []
    import sqlite3  # only needed where there is a ledger
    from pathlib import Path

    from nano_banana_mcp.ledger.listing import list_resources

    try:
        connection = sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        try:
            return list_resources(connection)
        finally:
            connection.close()
    except (sqlite3.Error, ValueError, LookupError, TypeError):
        return None


def _has_usual_settings(environment: Mapping[str, str]) -> bool:
    """Whether the settings that change discovery have values that need no interpretation."""
    for name, value in environment.items():
        if name.upper() in _READ_SETTINGS and name != name.upper() and value:
            return False  # the real server reads these names in any case
    sandbox = environment.get("NANO_BANANA_SANDBOX")
    return not sandbox or _BOOLEAN.fullmatch(sandbox) is not None


def _without_tools(answers: manifest.Answers) -> manifest.Answers:
    """The manifest for where a person confirms calls: the list of tools then depends on the client."""
    return {
        revision: {method: result for method, result in results.items() if method != "tools/list"}
        for revision, results in answers.items()
    }
