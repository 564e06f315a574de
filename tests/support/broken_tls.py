"""A stand-in of the API and of its host of pictures behind TLS that fails, in the handshake or after it."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.certificates import Authority
from tests.support.faults import answer_bytes
from tests.support.image_samples import PNG

HANGS = "handshake without an end"
MODES = (
    "handshake cut",
    "handshake reset",
    "no TLS at all",
    "unknown authority",
    "certificate of another name",
    "rubbish within the answer",
    "closed within the answer",
    "closed after the request",
)


def taken(task_id: str) -> dict[str, Any]:
    """The right answer to a submit."""
    return {"code": 0, "message": "ok", "data": {"task_id": task_id}}


def finished(task_id: str, image: str) -> dict[str, Any]:
    """The right answer to a query."""
    return {
        "code": 0,
        "message": "ok",
        "data": {"task_id": task_id, "status": "success", "result": [{"image": image}], "consumed": "0.500000"},
    }


class RecordedRequest(NamedTuple):
    """A request that was read."""

    method: str
    whole: bool


CLOSE = {"Connection": "close"}
"""A connection that is kept has its handshake behind it."""


class TlsApi:
    """A stand-in of the API and of its host of pictures, behind TLS, in threads.

    Attributes:
        mode: What goes wrong; None for nothing.
        on: The start of the requests that it goes wrong for.
        requests: What was read.
    """

    def __init__(self, folder: Path, authority: Authority) -> None:
        folder.mkdir(parents=True)
        stranger = Authority()
        self._contexts = {}
        for name, signer, names in (
            ("good", authority, ["localhost"]),
            ("unknown authority", stranger, ["localhost"]),
            ("certificate of another name", authority, ["other.example"]),
        ):
            part = folder / name.replace(" ", "-")
            part.mkdir()
            self._contexts[name] = signer.server_context(part, names, [])
        self.mode: str | None = None
        self.requests: list[RecordedRequest] = []
        self.task_id = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def posts(self) -> int:
        """How many submits were read."""
        return sum(request.method == "POST" for request in self.requests)

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[sock], daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        mode = self.mode
        try:
            with sock:
                sock.settimeout(40)
                if mode in ("handshake cut", "handshake reset", "no TLS at all", HANGS):
                    self._refuse(sock, mode)
                    return
                context = self._contexts.get(mode or "good", self._contexts["good"])
                with context.wrap_socket(sock, server_side=True) as secure:
                    self._answer(secure, mode)
        except OSError:
            pass  # the other side has left, as it should where it is shown a wrong certificate

    @staticmethod
    def _refuse(sock: socket.socket, mode: str) -> None:
        sock.recv(65_536)
        if mode == "handshake reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif mode == "no TLS at all":
            sock.sendall(answer_bytes(400, "no TLS here"))
        elif mode == HANGS:
            sock.recv(65_536)

    def _answer(self, secure: ssl.SSLSocket, mode: str | None) -> None:
        while True:
            raw = b""
            while b"\r\n\r\n" not in raw:
                more = secure.recv(65_536)
                if not more:
                    return
                raw += more
            head, _, body = raw.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            while len(body) < length:
                body += secure.recv(65_536)
            self.requests.append(RecordedRequest(head.partition(b" ")[0].decode(), whole=len(body) == length))
            answer = self._right(head)
            if mode == "closed after the request":
                return
            if mode == "rubbish within the answer":
                secure.sendall(answer[:-2])
                os.write(secure.fileno(), b"this was never encrypted" * 5)
                time.sleep(0.2)  # or the end would overtake it
                return
            if mode == "closed within the answer":
                secure.sendall(answer[:-2])
                return
            secure.sendall(answer)

    def _right(self, head: bytes) -> bytes:
        if head.startswith(b"POST"):
            return answer_bytes(200, taken(self.task_id), CLOSE)
        if head.startswith(b"GET /api/task"):
            return answer_bytes(200, finished(self.task_id, f"{self.url}/files/{self.task_id}.png"), CLOSE)
        return answer_bytes(200, PNG, {"Content-Type": "image/png", **CLOSE})
