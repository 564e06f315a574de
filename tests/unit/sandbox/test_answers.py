"""The `result=`, `consumed=`, `reason=` and `status=` directives."""

import base64

import pytest

from tests.support.sandbox_driver import Serve


async def test_a_single_object_may_stand_in_for_the_list(serve: Serve) -> None:
    async with serve() as api:
        data = await api.ending("sandbox:result=object")
        assert data["result"]["image"].endswith("-0.png")


async def test_a_success_may_hold_no_image(serve: Serve) -> None:
    async with serve() as api:
        assert (await api.ending("sandbox:result=null"))["result"] is None
        empty = await api.ending("sandbox:result=empty")
        assert (empty["status"], empty["result"]) == ("success", [])
        assert "billed all the same" in empty["status_reason"]["message"]
        text = await api.ending("sandbox:result=text")
        assert [list(item) for item in text["result"]] == [["text"]]
        assert text["consumed"] == "0.500000"


async def test_a_result_may_mix_text_and_image(serve: Serve) -> None:
    async with serve() as api:
        data = await api.ending("sandbox:result=mixed")
        assert [list(item) for item in data["result"]] == [["text"], ["image"]]


async def test_a_result_may_be_a_list_of_bare_urls(serve: Serve) -> None:
    async with serve() as api:
        data = await api.ending("sandbox:result=string-items")
        assert data["result"] == [f"{api.sandbox.url}/files/{data['task_id']}-0.png"]


async def test_a_result_may_come_without_the_data_wrapper(serve: Serve) -> None:
    async with serve() as api:
        task_id = await api.task_id("sandbox:result=flat sandbox:seconds=0")
        body = (await api.query(task_id)).json()
        assert (body["task_id"], body["status"]) == (task_id, "success")
        assert "data" not in body


async def test_a_failed_task_says_why_and_costs_nothing(serve: Serve) -> None:
    async with serve(credit=1) as api:
        data = await api.ending("sandbox:result=failed sandbox:reason=the_model_refused")
        assert (data["status"], data["result"], data["consumed"]) == ("failed", None, "0.000000")
        assert data["status_reason"] == {"message": "the model refused"}
        assert api.sandbox.credit == 1


async def test_a_data_uri_holds_the_image_itself(serve: Serve) -> None:
    async with serve() as api:
        data = await api.ending("sandbox:result=data-uri sandbox:picture=gif")
        head, _, content = data["result"][0]["image"].partition(",")
        assert head == "data:image/gif;base64"
        assert base64.b64decode(content).startswith(b"GIF8")


async def test_a_big_data_uri_weighs_about_five_megabytes(serve: Serve) -> None:
    async with serve() as api:
        data = await api.ending("sandbox:result=big-data-uri")
        assert 4_500_000 < len(data["result"][0]["image"]) < 5_500_000


@pytest.mark.parametrize(("shape", "value"), [("string", "0.500000"), ("number", 0.5), ("null", None)])
async def test_the_price_has_the_requested_shape(serve: Serve, shape: str, value: object) -> None:
    async with serve() as api:
        assert (await api.ending(f"sandbox:consumed={shape}"))["consumed"] == value


async def test_an_unknown_status_word_is_shown_while_the_task_works(serve: Serve) -> None:
    async with serve() as api:
        task_id = await api.task_id("sandbox:status=warming_up")
        assert (await api.query(task_id)).json()["data"]["status"] == "warming_up"
