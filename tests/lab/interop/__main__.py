"""``python -m tests.lab.interop``: run every client, print the table as it grows, and write docs/interop.md.

Ends with 1 if anything is not as the table should say, and then leaves the document as it was. With names (parts of
them) as arguments, only those clients are run, and nothing is written.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.interop import besides, environments
from tests.lab.interop.catalog import ALL, CLIENTS, TASK_CLIENTS, Entry
from tests.lab.interop.claude_code import report as claude_code
from tests.lab.interop.server import FILE
from tests.lab.interop.table import COLUMNS, Row, document, judge
from tests.lab.interop.walk import FAILING, NO_SUCH_TASK, PHOTO, PROMPT, SHOWS, Seen
from tests.support.clients import child, clean_environment
from tests.support.http_server import served_process as served
from tests.support.npm import PackageUnavailableError
from tests.support.paths import ROOT

DOCUMENT = ROOT / "docs" / "interop.md"
CLIENT_FOLDER = Path(__file__).parent / "clients"
SECONDS = 1_800  # the Inspector starts a process, and over stdio a server, for each of its commands
AT_ONCE = 4
SETTINGS = {"NANO_BANANA_SANDBOX_SECONDS": "1.5", "NANO_BANANA_LOG_LEVEL": "ERROR"}


class ClientFailed(Exception):
    """A client's program did not come to its end. The text says how."""


def program(entry: Entry) -> tuple[list[str], dict[str, Any]]:
    """How a client is started, and with which environment.

    Raises:
        PackageUnavailableError: it cannot be installed.
    """
    if entry.environment != "npm":
        return [environments.python(entry.environment), "-m", f"tests.lab.interop.clients.{entry.program}"], {}
    node, packages = environments.node()
    place = {"node": node, "packages": packages, "generation": entry.generation, "adds": dict(entry.adds)}
    if entry.program.endswith(".mjs"):
        return [node, str(CLIENT_FOLDER / entry.program)], place
    return [sys.executable, "-m", f"tests.lab.interop.clients.{entry.program}"], place


@contextmanager
def server(transport: str, folder: Path) -> Iterator[dict[str, Any]]:
    """A server of the client's own: over HTTP it runs already, over stdio the client starts it."""
    settings = {**SETTINGS, "NANO_BANANA_STATE_DIR": folder / "state"}
    if transport == "HTTP":
        with served("--sandbox", **settings) as running:
            yield {"url": running.url}
    else:
        start = child(**settings)
        yield {"command": start.command, "args": ["-m", "tests.lab.interop.server", "--sandbox"], "env": start.env}


def observe(entry: Entry, transport: str) -> Seen:
    """What one client saw over one transport.

    Raises:
        PackageUnavailableError: it cannot be installed.
        ClientFailed: its program failed.
    """
    command, place = program(entry)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        lines = {"prompt": PROMPT, "failing": FAILING, "no_such_task": NO_SUCH_TASK, "photo": PHOTO}
        with server(transport, folder) as where:
            way = {"transport": transport, "mode": entry.mode, "home": name, "seconds": SECONDS}
            job = json.dumps({**way, **where, **place, **lines})
            try:
                ended = subprocess.run(
                    [*command, job, str(folder / "seen.json")],
                    cwd=ROOT,
                    env=clean_environment(),
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    text=True,
                    timeout=SECONDS + 20,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise ClientFailed(f"it did not come to its end within {SECONDS + 20} s") from None
        if ended.returncode != 0:
            raise ClientFailed(f"its program ended with {ended.returncode}: {ended.stderr[-3000:]}")
        seen = Seen(**json.loads((folder / "seen.json").read_text(encoding="utf-8")))
        if transport == "stdio":
            seen.handover = list(dict.fromkeys((folder / FILE).read_text(encoding="utf-8").splitlines()))
        return seen


def run(entry: Entry, transport: str) -> Row:
    """One client over one transport, judged."""
    row = Row(entry, transport)
    try:
        row.seen = observe(entry, transport)
    except PackageUnavailableError as reason:
        row.problems.append(f"NOT RUN: {reason}")
    except ClientFailed as failure:
        row.problems.append(str(failure))
    else:
        judge(row)
    return row


def run_task_client(entry: Entry, transport: str) -> tuple[str, str, bool]:
    """What one client of MCP Tasks did over one transport: what, what came of it, and whether it is as it should be."""
    try:
        seen = observe(entry, transport)
    except PackageUnavailableError as reason:
        return f"{entry.name}, {transport}: background tasks", f"**not run**: {reason}", False
    except ClientFailed as failure:
        return f"{entry.name}, {transport}: background tasks", str(failure)[-300:], False
    came = [f"{what}: ok" for what in seen.shows] + [f"{what}: {why}" for what, why in seen.trouble.items()]
    return f"{entry.name} {seen.version}, {transport}: background tasks", "; ".join(came), not seen.trouble


def show(row: Row) -> None:
    """Print a row, and what is wrong with it."""
    cells = dict(zip(COLUMNS, row.cells(), strict=True))
    shown = " ".join(what for what in SHOWS if cells[what] == "yes")
    print(
        f"{cells['client']:<18} {cells['version']:<12} {cells['over']:<5} {cells['protocol']:<11} "
        f"{cells['tools']:>1} tools, calls ok: {cells['calls']}; {shown}",
        flush=True,
    )
    for problem in row.problems:
        print(f"    WRONG: {problem}", flush=True)


def others() -> list[tuple[str, str, bool]]:
    """The conformance suite, the lint, and the clients of MCP Tasks."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        with served("--sandbox", **SETTINGS, NANO_BANANA_STATE_DIR=Path(name) / "state") as running:
            rows = besides.conformance(running.url, Path(name))
        start = child("--sandbox")
        rows.append(besides.description_lint([start.command, *start.args], {**SETTINGS, "NANO_BANANA_STATE_DIR": name}))
        rows.append(besides.task_conformance(Path(name)))
    rows += [run_task_client(entry, transport) for entry in TASK_CLIENTS for transport in entry.transports]
    rows += claude_code.rows()
    for what, came, good in rows:
        print(f"{what}: {came}{'' if good else '   WRONG'}", flush=True)
    return rows


def main(names: list[str]) -> int:
    """All of it, or only the clients named."""
    began = time.monotonic()
    chosen = [one for one in CLIENTS if not names or any(name.lower() in one.name.lower() for name in names)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        rows = []
        for row in pool.map(lambda one: run(*one), [(entry, over) for entry in chosen for over in entry.transports]):
            show(row)
            rows.append(row)
    also = [] if names else others()
    wrong = sum(bool(row.problems) for row in rows) + sum(not good for _, _, good in also)
    print(f"\n{len(rows)} rows, {wrong} wrong, {time.monotonic() - began:.0f} s")
    if not wrong and not names:
        date = datetime.datetime.now(datetime.UTC).date().isoformat()
        cells = [row.cells() for row in rows]
        DOCUMENT.write_text(document(cells, [(what, came) for what, came, _ in also], date, len(ALL)), encoding="utf-8")
        print(f"written: {DOCUMENT.relative_to(ROOT)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
