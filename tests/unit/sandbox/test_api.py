from typing import Any

import httpx
import pytest

from tests.support.sandbox_driver import KEY, MODEL, Serve


async def test_a_submit_answers_with_a_task_id_and_the_query_with_the_task(serve: Serve) -> None:
    async with serve(seconds=60) as api:
        answer = (await api.submit()).json()
        assert answer == {"code": 0, "message": "ok", "data": {"task_id": api.sandbox.tasks[0].id}}
        query = (await api.query(answer["data"]["task_id"])).json()
        assert query == {
            "code": 0,
            "message": "ok",
            "data": {
                "task_id": answer["data"]["task_id"],
                "status": "pending",
                "result": None,
                "status_reason": {"message": None},
                "consumed": None,
                "created_at": api.sandbox.tasks[0].created_at,
            },
        }


@pytest.mark.parametrize("path", ["/api/user", "/api/task/query", "/files/none.png", "/elsewhere"])
async def test_every_answer_says_that_it_is_that_of_a_sandbox(serve: Serve, path: str) -> None:
    async with serve() as api:
        assert (await api.client.get(path)).headers["X-Nano-Banana-Sandbox"] == "1"


async def test_a_finished_task_shows_its_image_and_its_price(serve: Serve) -> None:
    async with serve() as api:
        data = await api.ending("a hill")
        assert data["status"] == "success"
        assert data["consumed"] == "0.500000"
        assert data["result"] == [{"image": f"{api.sandbox.url}/files/{data['task_id']}-0.png"}]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"model": MODEL}, "prompt is required"),
        ({"model": MODEL, "prompt": " "}, "prompt is required"),
        ({"prompt": "a hill"}, "model is required"),
        ({"model": MODEL, "prompt": "a", "images": ["https://x/y.png"] * 5}, "at most 4 images are allowed"),
        ({"model": MODEL, "prompt": "a", "images": "https://x/y.png"}, "images must be a list of strings"),
        ({"model": MODEL, "prompt": "a", "images": [1]}, "images must be a list of strings"),
        ({"model": MODEL, "prompt": "a", "callback_url": 1}, "callback_url must be a string"),
        ([], "the body must be a JSON object"),
    ],
)
async def test_a_bad_request_is_refused_with_its_detail(serve: Serve, body: object, detail: str) -> None:
    async with serve() as api:
        response = await api.client.post("/api/image/gen", json=body, headers=KEY)
        assert response.status_code == 400
        assert response.json() == {"code": 1, "message": "failed", "detail": detail}
        assert api.sandbox.stats.charged == 0


@pytest.mark.parametrize("wrong", [{"aspect_ratio": "7:5"}, {"image_size": "8k"}, {"image_size": 1}])
async def test_an_unknown_ratio_or_size_is_refused(serve: Serve, wrong: dict[str, Any]) -> None:
    async with serve() as api:
        response = await api.submit(**wrong)
        assert response.status_code == 400
        assert next(iter(wrong)) in response.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000], ids=["empty", "cut", "bytes", "deep"])
async def test_malformed_json_is_a_bad_request(serve: Serve, content: bytes) -> None:
    async with serve() as api:
        response = await api.client.post("/api/image/gen", content=content, headers=KEY)
        assert (response.status_code, response.json()["detail"]) == (400, "malformed JSON")


async def test_a_typo_in_a_directive_never_passes(serve: Serve) -> None:
    async with serve() as api:
        response = await api.submit("a hill sandbox:sumbit=500")
        assert response.status_code == 400
        assert "submit=ok|400" in response.json()["detail"]
        assert api.sandbox.tasks == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic dk-test"}]
    + [{"Authorization": f"Bearer dk-{word}"} for word in ("invalid", "expired", "suspended")],
)
async def test_a_key_that_is_not_good_is_refused_in_both_documented_shapes(
    serve: Serve, headers: dict[str, str]
) -> None:
    async with serve() as api:
        submit = await api.client.post("/api/image/gen", json={"model": MODEL, "prompt": "a"}, headers=headers)
        assert (submit.status_code, submit.json()) == (401, {"code": 1, "message": "Invalid API key"})
        for path in ("/api/task/query?task_id=ta1", "/api/user"):
            query = await api.client.get(path, headers=headers)
            assert (query.status_code, query.json()) == (401, {"code": 401, "message": "Invalid API key"})


async def test_the_credit_falls_with_each_charge_in_the_type_it_was_given(serve: Serve) -> None:
    for credit, left in (("10", "9.500000"), (10, 9.5)):
        async with serve(credit=credit) as api:
            await api.task_id()
            assert (await api.client.get("/api/user", headers=KEY)).json()["data"] == {"credit": left}


async def test_without_credit_a_submit_is_refused_and_not_charged(serve: Serve) -> None:
    async with serve(credit="0.7") as api:
        assert [(await api.submit()).status_code for _ in range(2)] == [200, 402]
        assert (await api.submit(key="dk-broke")).status_code == 402
        assert api.sandbox.stats.charged == 1
        user = await api.client.get("/api/user", headers={"Authorization": "Bearer dk-broke"})
        assert user.json()["data"]["credit"] == "0.000000"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/image/gen"),
        ("POST", "/api/user/"),
        ("GET", "/api/task/query/"),
        ("PUT", "/api/user"),
        ("GET", "/api/task/query?task_id=ta-none"),
    ],
)
async def test_everything_else_is_not_found_in_the_shape_of_the_api(serve: Serve, method: str, path: str) -> None:
    async with serve() as api:
        response = await api.client.request(method, path, headers=KEY)
        assert (response.status_code, response.json()) == (404, {"code": 1, "message": "task not found"})


async def test_a_query_without_a_task_id_is_a_bad_request(serve: Serve) -> None:
    async with serve() as api:
        assert (await api.query("")).json()["detail"] == "task_id is required"


async def test_a_fresh_task_is_not_found_within_its_grace(serve: Serve) -> None:
    async with serve() as api:
        task_id = await api.task_id("sandbox:grace=60")
        assert (await api.query(task_id)).status_code == 404


async def test_the_sandbox_reports_the_requests_that_it_received(serve: Serve) -> None:
    async with serve() as api:
        request = {"aspect_ratio": "16:9", "images": ["https://x/y.png", "data:image/png;base64," + "A" * 9000]}
        task_id = await api.task_id("a hill", **request)
        await api.query(task_id)
        await api.query(task_id)
        stats = (await api.client.get("/_sandbox/stats")).json()
        assert (stats["submits"], stats["charged"], stats["queries"]) == (1, 1, 2)
        assert stats["queries_by_task"] == {task_id: 2}
        (task,) = (await api.client.get("/_sandbox/tasks")).json()
        assert (task["id"], task["prompt"], task["images"], task["charged"]) == (task_id, "a hill", 2, True)
        assert task["request"]["aspect_ratio"] == "16:9"
        assert task["request"]["images"][0] == "https://x/y.png"
        assert len(task["request"]["images"][1]) < 200


async def test_a_prompt_with_a_lone_surrogate_breaks_nothing(serve: Serve) -> None:
    async with serve() as api:
        content = b'{"model": "m", "prompt": "a \\ud800 hill sandbox:seconds=0"}'
        await api.client.post("/api/image/gen", content=content, headers=KEY)
        assert (await api.client.get("/_sandbox/tasks")).status_code == 200
        url = f"/files/{api.sandbox.tasks[0].id}-0.png"
        response: httpx.Response = await api.client.get(url, headers={"User-Agent": "Mozilla/5.0"})
        assert response.status_code == 200
