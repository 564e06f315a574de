"""Answers discovery over stdio before anything but a little of the standard library is imported.

Hosts start every configured server with every window and ask for its tools; most sessions never call one. Those
requests are answered from the manifest. The front answers only messages that match a known shape exactly. At the first
other message the real server takes over, in the same process, and words the answer: the front reports no errors.
"""

from __future__ import annotations

from collections.abc import Callable

from nano_banana_mcp.stdio.manifest import Answers
from nano_banana_mcp.stdio.messages import (
    ENVELOPE,
    MODERN,
    Message,
    has_only,
    is_capabilities,
    is_client_info,
    is_envelope,
    parse,
    to_line,
)

REPLAY_ID = "nano-banana-mcp:replay"
"""The id under which the handshake is replayed to the real server. That answer is dropped."""

MAX_ID_CHARACTERS = 200
MAX_LISTENS = 16
_LIST_CHANGES = {"toolsListChanged", "promptsListChanged", "resourcesListChanged"}


class Front:
    """One client's discovery, as a function of its lines.

    Args:
        answers: The manifest.
        list_images: Returns the resources of the images in the ledger; None if only the real server can list them.

    Attributes:
        handshake: Lines that bring the real server to where this session is.
        listens: The request line of each open subscription, by request id.
    """

    def __init__(self, answers: Answers, list_images: Callable[[], list[Message] | None]) -> None:
        self._answers = answers
        self._list_images = list_images
        self._revision: str | None = None
        self.handshake: list[bytes] = []
        self.listens: dict[str | int, bytes] = {}

    def answer(self, line: bytes) -> bytes | None:
        """The answer to a line, empty if none is due; None if the real server must see the line."""
        if line in (b"\n", b"\r\n"):
            return b""
        message = parse(line)
        if message is None:
            return None
        if "id" not in message:
            return b"" if self._accept_notification(message, line) else None
        return self._answer_request(message, line) if self._is_usable_id(message["id"]) else None

    def _is_usable_id(self, request_id: object) -> bool:
        is_plain = type(request_id) in (int, str) and len(str(request_id)) <= MAX_ID_CHARACTERS
        return is_plain and request_id != REPLAY_ID and request_id not in self.listens

    def _answer_request(self, message: Message, line: bytes) -> bytes | None:
        request_id, method, params = message["id"], message["method"], message.get("params", {})
        meta = params.get("_meta", {})
        if not isinstance(meta, dict) or type(meta.get("progressToken", 0)) not in (int, str):
            return None
        if any(key.startswith(ENVELOPE) for key in meta):
            return self._answer_modern(request_id, method, params, meta, line)
        if method == "initialize":
            return self._initialize(request_id, params, message)
        if self._revision in (None, MODERN) or not has_only(params, {"_meta"}):
            return None
        return self._from_manifest(request_id, self._revision, method)

    def _initialize(self, request_id: str | int, params: Message, message: Message) -> bytes | None:
        revision = params.get("protocolVersion")
        is_known = (
            self._revision is None
            and isinstance(revision, str)
            and revision != MODERN
            and has_only(params, {"protocolVersion", "capabilities", "clientInfo", "_meta"})
            and is_client_info(params.get("clientInfo"))
            and is_capabilities(params.get("capabilities"))
        )
        answer = self._from_manifest(request_id, revision, "initialize") if is_known else None
        if answer is not None:
            self._revision = revision
            self.handshake.append(to_line({**message, "id": REPLAY_ID}))
        return answer

    def _answer_modern(
        self, request_id: str | int, method: str, params: Message, meta: Message, line: bytes
    ) -> bytes | None:
        if self._revision not in (None, MODERN) or not is_envelope(meta):
            return None
        if method == "subscriptions/listen":
            answer = self._listen(request_id, params, line)
        else:
            answer = self._from_manifest(request_id, MODERN, method) if has_only(params, {"_meta"}) else None
        if answer is not None and self._revision is None:
            self._revision = MODERN
            # The real server recognises a modern client by its first request. A ping has no other effect.
            self.handshake.append(
                to_line({"jsonrpc": "2.0", "id": REPLAY_ID, "method": "ping", "params": {"_meta": meta}})
            )
        return answer

    def _from_manifest(self, request_id: str | int, revision: str | None, method: str) -> bytes | None:
        result = self._answers.get(revision or "", {}).get(method)
        if result is not None and method == "resources/list":
            images = self._list_images()
            result = None if images is None else {**result, "resources": [*result["resources"], *images]}
        return None if result is None else to_line({"jsonrpc": "2.0", "id": request_id, "result": result})

    def _accept_notification(self, message: Message, line: bytes) -> bool:
        method, params = message["method"], message.get("params", {})
        if method == "notifications/cancelled" and type(params.get("requestId")) in (int, str) and self._revision:
            self.listens.pop(params["requestId"], None)  # other requests have been answered by now
            return True
        if method == "notifications/initialized" and len(self.handshake) == 1 and has_only(params, {"_meta"}):
            self.handshake.append(line)
            return True
        return False

    def _listen(self, request_id: str | int, params: Message, line: bytes) -> bytes | None:
        wanted = params.get("notifications")
        if not isinstance(wanted, dict) or not has_only(wanted, _LIST_CHANGES, bool):
            return None
        if not has_only(params, {"_meta", "notifications"}) or len(self.listens) >= MAX_LISTENS:
            return None
        self.listens[request_id] = line
        accepted = {name: True for name, is_wanted in wanted.items() if is_wanted}
        acknowledgement = {"_meta": {f"{ENVELOPE}subscriptionId": request_id}, "notifications": accepted}
        return to_line(
            {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": acknowledgement}
        )
