"""The upload page over HTTP: forms that are none, cut bodies, foreign origins, and grants that are used up or expired.

After each list of cases the references of its grant are counted: as many as were answered with one, and no more than
the grant allows.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from nano_banana_mcp.generations.uploads import GRANT_SECONDS, new_upload_request
from nano_banana_mcp.ledger.sqlite import SqliteLedger
from tests.lab.torture.accounts import account
from tests.lab.torture.processes import Gone, Http, api, received, sandbox
from tests.lab.torture.search import search
from tests.lab.torture.tally import Tally
from tests.support.fault_server import unused_port
from tests.support.image_samples import drawn, png
from tests.support.uploads import form, photo

COUNT = 4
"""Images that the grant of each list of cases takes."""

_PHOTO = photo((64, 48))
_PART = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
_GOOD = (form(drawn("PNG")), form(_PHOTO, mime_type=b"text/html", name=b"../../etc/passwd"))
_BAD = (
    b"",
    form(b""),
    form(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    form(b"GIF89a\xff\xff\xff\xff"),
    form(png(60_000, 60_000)),
    form(drawn("TIFF")),
    form(_PHOTO[:500]),
    form(_PHOTO, field=b"file"),
    form(_PHOTO, name=b"x" * 5_000),
    form(_PHOTO)[:-7] + b"\r\n" + form(_PHOTO),
    form(_PHOTO).replace(b"--x", b"--y"),
    form(_PHOTO).replace(b"\r\n\r\n", b"\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", 1),
    _PART % (b"image", b"https://images.example/a.png") + b"--x--",
    _PART % (b"a", b"1") * 2_000 + form(_PHOTO),
    b"--x" * 5_000,
    b"--x\r\n\r\n",
    b"image=x&" * 100,
    b"\x00" * 3_000,
)
_HEADERS = (
    {"Host": "evil.example"},
    {"Origin": "null"},
    {"Origin": "https://evil.example"},
    {"Sec_Fetch_Site": "cross-site"},
    {"Content_Type": "multipart/form-data"},
    {"Content_Type": "multipart/form-data; boundary=" + "y" * 3_000},
    {"Content_Type": "multipart/form-data; boundary=x; boundary=y"},
    {"Content_Type": "multipart/form-data; boundary=\udcff"},
    {"Content_Type": "application/json"},
    {"Content_Type": ""},
    {"Content_Encoding": "gzip"},
    {"Content_Length": "0"},
    {"Content_Length": "5"},
    {"Content_Length": "-1"},
    {"Content_Length": "99999999999999999999999"},
    {"Transfer_Encoding": "chunked"},
    {"Expect": "100-continue"},
    {"Authorization": "Bearer \udc80"},
    {"Accept": "text/html"},
)
_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


@dataclass(frozen=True)
class Case:
    """One request to the page.

    Attributes:
        grant: The name of a grant: "open", "used", "expired" or "unknown"; or a text that is none.
        sent: How much of the body is sent, from 0 to 1.
        end: How the client ends: "answered", "half-closed", "closed" or "reset".
    """

    method: str
    grant: str
    body: bytes
    headers: tuple[tuple[str, str], ...]
    sent: float
    end: str

    @property
    def is_answered(self) -> bool:
        """Whether the client waits for an answer: of what it says is whole, and that the server does not wait for."""
        names = {name for name, _ in self.headers}
        return self.end == "answered" and self.sent == 1 and not names & {"Content_Length", "Transfer_Encoding"}


@st.composite
def _body(draw: st.DrawFn) -> bytes:
    match draw(st.integers(0, 9)):
        case 0 | 1 | 2:
            return draw(st.sampled_from(_GOOD))
        case 3 | 4:
            whole = draw(st.sampled_from(_GOOD))
            place = draw(st.integers(0, 200))  # its head
            return whole[:place] + draw(st.binary(max_size=4)) + whole[place + draw(st.integers(0, 9)) :]
        case 5:
            return draw(st.binary(max_size=200))
        case _:
            return draw(st.sampled_from(_BAD))


CASES = st.builds(
    Case,
    st.sampled_from(["POST"] * 20 + ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"]),
    st.sampled_from(["open"] * 24 + ["used", "expired", "unknown", "", "..", "%00", "a" * 5_000, "%2e%2e/mcp"]),
    _body(),
    st.lists(st.sampled_from([next(iter(item.items())) for item in _HEADERS]), max_size=1).map(tuple),
    st.one_of(st.just(1.0), st.just(1.0), st.floats(0, 0.999)),
    st.sampled_from(["answered"] * 5 + ["half-closed", "closed", "reset"]),
)


class Uploader:
    """Sends requests to the upload page, which is served again after a case that failed."""

    def __init__(self, start: Callable[[], Http]) -> None:
        self._start = start
        self._server: Http | None = None
        self._closed: dict[str, str] = {}
        self.taken = 0

    def __call__(self, batch: list[Case]) -> str | None:
        """Run a list of cases, and return what went wrong."""
        if self._server is None:
            self._server = self._start()
            self._closed = _closed_grants(self._server)
        server = self._server
        try:
            why = self._upload(server, batch) or server.unforeseen
            if why is None and not server.healthy():
                why = "it is not healthy any more"
        except Gone as error:
            why = server.describe(error)
        if why is not None:
            self.close()
        return why

    def close(self) -> None:
        """End the server."""
        if self._server is not None:
            self._server.__exit__()
            self._server = None

    def _upload(self, server: Http, batch: list[Case]) -> str | None:
        opened = server.tool("add_reference", count=COUNT)["structuredContent"]
        grants = {**self._closed, "open": opened["upload_url"].rpartition("/")[2]}
        taken, unseen = [], 0
        for case in batch:
            got = _send(server, case, grants)
            statuses = [int(status) for status in _STATUS.findall(got)]
            if any(status >= 500 for status in statuses):
                return f"{case} is answered by {got[:600]!r}"
            if case.method == "POST" and 200 in statuses:
                if case.grant != "open" or case.sent < 1:
                    return f"wrong: {case} is taken: {got[:600]!r}"
                taken.append(json.loads(got.rpartition(b"\r\n\r\n")[2])["resource_uri"])
            unseen += case.sent == 1 and not case.is_answered
        arrived = server.tool("add_reference", upload_id=opened["upload_id"])["structuredContent"]["references"]
        uris = [reference["resource_uri"] for reference in arrived]
        self.taken += len(uris)
        if lost := [uri for uri in taken if uri not in uris]:
            return f"lost: {lost} were taken, and {uris} are there"
        if not len(taken) <= len(uris) <= min(COUNT, len(taken) + unseen):
            return f"double: {len(taken)} were answered, {unseen} may be, and {uris} are there"
        for uri in uris[:1]:
            if not server.result("resources/read", uri=uri)["contents"][0].get("blob"):
                return f"lost: {uri} cannot be read"
        return None


def _send(server: Http, case: Case, grants: dict[str, str]) -> bytes:
    path = f"/references/{grants.get(case.grant, case.grant)}"
    headers = {"Content_Type": "multipart/form-data; boundary=x", **dict(case.headers)}
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    usual = {"Host": server.host, "Content-Length": str(len(case.body)), "Connection": "close"}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**usual, **fields}.items())
    sent = f"{case.method} {path} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape")
    with server.socket() as sock:
        try:
            sock.sendall(sent + case.body[: int(len(case.body) * case.sent)])
            if case.end == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if case.end in ("closed", "reset"):
                return b""
            if not case.is_answered:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it may refuse before it has read all
        return received(sock)


def _closed_grants(server: Http) -> dict[str, str]:
    """Grants that are used up, have expired, or never were."""
    used = server.tool("add_reference")["structuredContent"]["upload_url"].rpartition("/")[2]
    body = _GOOD[0]
    headers = {"Content_Type": "multipart/form-data; boundary=x"}
    answer = server.ask(server.request("POST", f"/references/{used}", body, **headers))
    if b" 200 " not in answer.partition(b"\r\n")[0]:
        raise Gone(f"a right upload is answered by {answer[:600]!r}")
    ledger = SqliteLedger(server.folder)
    try:
        expired = new_upload_request("local", None, COUNT, time.time() - GRANT_SECONDS)
        ledger.save_upload_request(expired)
    finally:
        ledger.close()
    return {"used": used, "expired": expired.grant, "unknown": secrets.token_urlsafe(32)}


def fuzz_uploads(folder: Path, count: int, seed: int) -> Tally:
    """Requests to the page, most of them wrong."""
    tally = Tally("fuzz: uploads over HTTP")
    port = unused_port()
    with sandbox(seconds=0) as served:
        environment: dict[str, Any] = api(
            served.url, NANO_BANANA_PUBLIC_URL=f"http://127.0.0.1:{port}", NANO_BANANA_UPLOADS_PER_DAY=0
        )
        uploader = Uploader(lambda: Http(folder=folder, port=port, **environment))
        try:
            search(tally, CASES, count, seed, uploader)
            account(tally, served, folder)
        finally:
            uploader.close()
    tally.figures["images taken"] = uploader.taken
    return tally
