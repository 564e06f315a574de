"""The fault matrix below HTTP: TLS that fails in the handshake or after it, and names that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.lab.torture.accounts import account, generations
from tests.lab.torture.matrix import TIMEOUT_SECONDS, Cells, faulty_api
from tests.lab.torture.processes import Http, Stdio, api, sandbox, text_of
from tests.lab.torture.tally import Tally
from tests.support import faults
from tests.support.broken_tls import HANGS, MODES, TlsApi, finished, taken
from tests.support.certificates import Authority
from tests.support.image_samples import PNG

NOWHERE = "nowhere.example.com"


class TlsCells(Cells):
    """The same questions as on plain sockets, with modes of a :class:`TlsApi` instead of steps."""

    def behave(self, task_id: str, image: bytes = PNG) -> None:
        """Nothing goes wrong."""
        self.server.mode = None
        self.server.task_id = task_id

    def break_(self, start: bytes, step: Any) -> None:
        """All goes wrong from now on."""
        self.server.mode = step


@contextmanager
def _serving(folder: Path) -> Iterator[tuple[TlsApi, dict[str, Any]]]:
    authority = Authority()
    server = TlsApi(folder / "tls", authority)
    trusted = folder / "authority.pem"
    trusted.write_text(authority.pem)
    try:
        yield server, api(server.url, DEFAPI_TIMEOUT_SECONDS=TIMEOUT_SECONDS, SSL_CERT_FILE=trusted)
    finally:
        server.close()


def tls(folder: Path, *, long: bool) -> Tally:
    """TLS × submit, query, fetch."""
    tally = Tally("faults: TLS × submit, query, fetch")
    with _serving(folder) as (server, environment), Stdio(folder=folder / "state", **environment) as child:
        cells = TlsCells(tally, child, server, None)
        for operation in ("submit", "query", "fetch"):
            for mode in [*MODES, *([HANGS] if long or operation != "fetch" else [])]:
                cells.run(f"{mode}, {operation}", lambda mode=mode: getattr(cells, operation)(mode))  # noqa: B023 - called within the same round
    return tally


def names(folder: Path) -> Tally:
    """DNS that fails: of the API, for a submit and a query; of a picture's host; of our own address, for a callback."""
    tally = Tally("faults: DNS × submit, query, fetch, callback")
    with Stdio(folder=folder / "api", **api(f"http://{NOWHERE}:1", DEFAPI_TIMEOUT_SECONDS=TIMEOUT_SECONDS)) as child:
        said = text_of(child.tool("generate_image", prompt="a cat"))
        unsure = [item for item in generations(folder / "api") if item.task_id is None and not item.finished]
        _count(tally, "could not be reached" in said and "Nothing was sent" in said and not unsure, f"submit: {said}")
        said = text_of(child.tool("get_task", task_id="ta000001"))
        _count(tally, "could not be reached" in said and "Queries are free" in said, f"query: {said}")
    with faulty_api() as (server, board), Stdio(folder=folder / "fetch", **api(server.url)) as child:
        task_id = "ta000002"
        board.routes = {
            b"POST /api/image/gen": faults.reply(200, taken(task_id)),
            b"GET /api/task/query": faults.reply(200, finished(task_id, f"https://{NOWHERE}/x.png")),
        }
        child.tool("generate_image", prompt="a cat", wait_seconds=20)
        said = text_of(child.tool("view_image", task_id=task_id))
        state = text_of(child.tool("get_task", task_id=task_id))
        _count(tally, NOWHERE in said and "cannot be found" in said and "success" in state, f"fetch: {said}; {state}")
    with sandbox(seconds=0.5) as served:
        environment = api(served.url, NANO_BANANA_PUBLIC_URL=f"http://{NOWHERE}")
        with Http(folder=folder / "callback", **environment) as reached:
            made = reached.tool("generate_image", prompt="a cat", wait_seconds=30)
            done = made.get("structuredContent", {}).get("status")
            _count(tally, done == "success" and reached.unforeseen is None, f"callback: {text_of(made)}")
        account(tally, served, folder / "callback")
    return tally


def _count(tally: Tally, well: bool, why: str) -> None:
    if well:
        tally.passed()
    else:
        tally.failed(f"DNS failure, {why}", "wrong")
