import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

from tests.support.sandbox_driver import Serve


class Listener:
    """Takes callbacks on a real socket."""

    def __init__(self, answer: str) -> None:
        self.url = ""
        self.received: list[tuple[str, dict[str, Any]]] = []
        self._answer = answer

    async def public_id(self, stream: ByteStream) -> None:
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data:
                data += await stream.receive()
            head, _, body = data.partition(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            while len(body) < length:
                body += await stream.receive()
            self.received.append((head.split(b"\r\n")[0].decode(), json.loads(body)))
            if self._answer == "hang":
                await anyio.sleep_forever()
            await stream.send(f"HTTP/1.1 {self._answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())


@asynccontextmanager
async def listening(answer: str = "204 No Content") -> AsyncIterator[Listener]:
    listener = Listener(answer)
    server = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with server, anyio.create_task_group() as tasks:
        port = server.extra(SocketAttribute.local_port)
        listener.url = f"http://127.0.0.1:{port}/hook/secret?a=b"
        tasks.start_soon(server.serve, listener.public_id)
        yield listener
        tasks.cancel_scope.cancel()


async def test_the_end_of_a_task_is_posted_flat_to_the_given_url(serve: Serve) -> None:
    async with listening() as listener, serve() as api:
        task_id = await api.task_id("a hill sandbox:seconds=0.05", callback_url=listener.url)
        await api.sandbox.until(lambda stats: stats.callbacks_sent == 1)
        assert listener.received == [
            (
                "POST /hook/secret?a=b HTTP/1.1",
                {
                    "result": [{"image": f"{api.sandbox.url}/files/{task_id}-0.png"}],
                    "status": "success",
                    "task_id": task_id,
                    "consumed": "0.500000",
                    "status_reason": {"message": None},
                },
            )
        ]
        assert (await api.query(task_id)).json()["data"]["status"] == "success"


async def test_a_failure_is_posted_too(serve: Serve) -> None:
    async with listening() as listener, serve() as api:
        await api.task_id("sandbox:result=failed sandbox:seconds=0", callback_url=listener.url)
        await api.sandbox.until(lambda stats: stats.callbacks_sent == 1)
        (_, body) = listener.received[0]
        assert (body["status"], body["result"], body["consumed"]) == ("failed", None, "0.000000")
        assert body["status_reason"]["message"]


async def test_a_task_whose_submit_was_lost_still_calls_back(serve: Serve) -> None:
    async with listening() as listener, serve() as api:
        await api.submit("sandbox:submit=502 sandbox:seconds=0", callback_url=listener.url)
        await api.sandbox.until(lambda stats: stats.callbacks_sent == 1)
        assert listener.received[0][1]["task_id"] == api.sandbox.tasks[0].id


async def test_a_double_callback_arrives_twice_and_a_lost_one_never(serve: Serve) -> None:
    async with listening() as listener, serve("seconds=0") as api:
        await api.task_id("sandbox:callback=lost", callback_url=listener.url)
        double = await api.task_id("sandbox:callback=double", callback_url=listener.url)
        await api.sandbox.until(lambda stats: stats.callbacks_sent == 2)
        assert [body["task_id"] for _, body in listener.received] == [double, double]


async def test_an_early_callback_claims_a_success_that_is_not_there_yet(serve: Serve) -> None:
    async with listening() as listener, serve("seconds=2") as api:
        task_id = await api.task_id("sandbox:callback=early", callback_url=listener.url)
        await api.sandbox.until(lambda stats: stats.callbacks_sent == 1)
        assert listener.received[0][1]["status"] == "success"
        assert (await api.query(task_id)).json()["data"]["status"] == "in_progress"


async def test_a_late_callback_comes_after_the_end(serve: Serve) -> None:
    async with listening() as listener, serve("seconds=0", late_seconds=0.2) as api:
        await api.task_id("sandbox:callback=late", callback_url=listener.url)
        await api.sandbox.until(lambda stats: stats.callbacks_sent == 1)
        assert api.sandbox.tasks[0].age >= 0.2


@pytest.mark.parametrize("answer", ["404 Not Found", "500 Oops"])
async def test_a_refused_callback_is_counted_and_not_repeated(serve: Serve, answer: str) -> None:
    async with listening(answer) as listener, serve("seconds=0") as api:
        await api.task_id(callback_url=listener.url)
        await api.sandbox.until(lambda stats: stats.callbacks_failed == 1)
        assert len(listener.received) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/", "not a url", "ftp://127.0.0.1/", "http://[/", "http://x:99999/"]
)
async def test_a_callback_that_cannot_be_sent_is_counted(serve: Serve, url: str) -> None:
    async with serve("seconds=0") as api:
        await api.task_id(callback_url=url)
        await api.sandbox.until(lambda stats: stats.callbacks_failed == 1)
        assert (await api.submit()).status_code == 200


async def test_a_callback_that_hangs_does_not_hold_up_the_shutdown(serve: Serve) -> None:
    async with listening("hang") as listener:
        with anyio.fail_after(60):
            async with serve("seconds=0") as api:
                await api.task_id(callback_url=listener.url)
        assert api.sandbox.stats.callbacks_sent == 0
