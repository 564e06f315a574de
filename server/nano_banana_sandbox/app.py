"""The sandbox as an ASGI application: the endpoints of the API, the images, and statistics for tests."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from nano_banana_sandbox import answers
from nano_banana_sandbox.answers import json_answer
from nano_banana_sandbox.faults import REFUSALS
from nano_banana_sandbox.orders import BadOrderError, read_order
from nano_banana_sandbox.sandbox import Sandbox
from nano_banana_sandbox.tasks import Order, Task, media_type, suffix

REFUSED_KEYS = frozenset({"dk-invalid", "dk-expired", "dk-suspended"})
BROKE_KEY = "dk-broke"
_LIBRARIES = ("python-httpx", "python-requests", "Python-urllib")


def create_app(sandbox: Sandbox) -> Starlette:
    """The application of one sandbox. Its faults need the transport that `server` puts into the scope."""
    api = _Api(sandbox)
    routes = [
        Route("/api/image/gen", api.submit, methods=["POST"]),
        Route("/api/task/query", api.query, methods=["GET"]),
        Route("/api/user", api.user, methods=["GET"]),
        Route("/files/{name}", api.file, methods=["GET"]),
        Route("/_sandbox/stats", api.stats, methods=["GET"]),
        Route("/_sandbox/tasks", api.tasks, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found})
    app.router.redirect_slashes = False
    return app


async def _not_found(request: Request, error: Exception) -> Response:
    return json_answer(answers.NOT_FOUND, 404)


def _key(request: Request) -> str | None:
    """The key, or None when it is missing or refused."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    key = key.strip()
    return key if scheme.lower() == "bearer" and key and key not in REFUSED_KEYS else None


class _Api:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._stats = sandbox.stats

    async def submit(self, request: Request) -> Response:
        self._stats.submits += 1
        self._sandbox.changed()
        key = _key(request)
        if key is None:
            return json_answer(answers.refusal(401), 401)
        try:
            order = read_order(await request.body(), self._sandbox.config.defaults)
        except BadOrderError as error:
            return json_answer(answers.failed(str(error)), 400)
        except ClientDisconnect:
            return Response()
        self._stats.submits_by_prompt[order.prompt] += 1
        fault = order.directives.submit
        struck = fault.strikes(self._stats.submits_by_prompt[order.prompt])
        if struck and fault.kind in REFUSALS:
            return self._faulty(fault.kind, {}, order)
        if key == BROKE_KEY or self._sandbox.broke:
            return json_answer(answers.refusal(402), 402)
        task = self._charge(order, request)
        body = answers.ok({"task_id": task.id})
        return self._faulty(fault.kind, body, order) if struck else json_answer(body)

    def _charge(self, order: Order, request: Request) -> Task:
        task = self._sandbox.store.create(order, str(request.base_url).rstrip("/"))
        self._stats.charged += 1
        self._sandbox.on_task(task)
        self._sandbox.changed()
        return task

    async def query(self, request: Request) -> Response:
        self._stats.queries += 1
        task_id = request.query_params.get("task_id", "")
        task = self._sandbox.store.find(task_id)
        if task is not None:
            task.queries += 1
            self._stats.queries_by_task[task_id] += 1
        self._sandbox.changed()
        if _key(request) is None:
            return json_answer(answers.refusal(401, query=True), 401)
        if not task_id:
            return json_answer(answers.failed("task_id is required"), 400)
        if task is None:
            return json_answer(answers.NOT_FOUND, 404)
        return await self._state(task)

    async def _state(self, task: Task) -> Response:
        fault = task.directives.query
        struck = fault.strikes(task.queries)
        if not struck and not task.is_visible:
            return json_answer(answers.NOT_FOUND, 404)
        state = await answers.state(task, self._sandbox.images)
        if struck:
            return self._faulty(fault.kind, answers.ok(state), task.order, query=True)
        return json_answer(state if task.directives.result == "flat" else answers.ok(state))

    def _faulty(self, kind: str, body: answers.Body, order: Order, *, query: bool = False) -> Response:
        interval = self._sandbox.config.drip_interval
        return answers.answer(kind, body, order.directives, drip_interval=interval, query=query)

    async def user(self, request: Request) -> Response:
        key = _key(request)
        if key is None:
            return json_answer(answers.refusal(401, query=True), 401)
        nothing = "0.000000" if isinstance(self._sandbox.config.credit, str) else 0
        return json_answer(answers.ok({"credit": nothing if key == BROKE_KEY else self._sandbox.credit}))

    async def file(self, request: Request) -> Response:
        self._stats.files += 1
        self._stats.files_with_key += "authorization" in request.headers
        self._sandbox.changed()
        agent = request.headers.get("user-agent", "")
        if not agent or agent.startswith(_LIBRARIES):
            return _blocked()
        task, number = self._image(request.path_params["name"])
        if task is None:
            return PlainTextResponse("Not Found", 404)
        if "redirected" in request.query_params:
            return await self._bytes(task, number)
        task.reads[number] += 1
        if not task.directives.file.strikes(task.reads[number]):
            return await self._bytes(task, number)
        faults: dict[str, Callable[[], Response]] = {
            "403": _blocked,
            "404": lambda: PlainTextResponse("Not Found", 404),
            "html": answers.html_page,
            "hang": answers.Hang,
            "redirect": lambda: RedirectResponse(f"{request.url.path}?redirected", 302),
            "huge": answers.Huge,
        }
        return faults[task.directives.file.kind]()

    def _image(self, name: str) -> tuple[Task | None, int]:
        task_id, _, last = name.rpartition("-")
        number, _, ending = last.partition(".")
        task = self._sandbox.store.find(task_id)
        if task is None or not task.finished or ending != suffix(task):
            return None, 0
        if number not in map(str, range(task.image_count)):
            return None, 0
        return task, int(number)

    async def _bytes(self, task: Task, number: int) -> Response:
        content = await self._sandbox.images.get(task, number)
        return Response(content, media_type=media_type(task))

    async def stats(self, request: Request) -> Response:
        return json_answer(self._stats.as_dict())

    async def tasks(self, request: Request) -> Response:
        return json_answer([task.as_dict() for task in self._sandbox.tasks])


def _blocked() -> Response:
    return PlainTextResponse("error code: 1010", 403)
