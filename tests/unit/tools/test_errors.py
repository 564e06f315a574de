"""The errors that a model reads: what happened, whether credits may be gone, and what to do."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import stamina

from nano_banana_mcp.defapi.errors import TaskNotFound
from nano_banana_mcp.tracking.refresh import CHECK_THE_ID, NO_SUCH_TASK
from nano_banana_sandbox.server import serve_sandbox
from nano_banana_tools.errors import tool_error
from tests.support.clients import KEY, client_at, facts, text
from tests.support.sandbox import plain_config, plain_sandbox, sandbox_thread

MAY_BE_CHARGED = "may have been charged"


@pytest.fixture(autouse=True)
def instant_pauses() -> Iterator[None]:
    """No pause between attempts; their number stays the client's own (the cap is out of reach)."""
    with stamina.set_testing(True, attempts=99, cap=True):
        yield


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("400", "refused the request"),
        ("401", "DEFAPI_API_KEY"),
        ("402", "credits"),
        ("403", "DEFAPI_API_KEY"),
        ("404", "404"),
        ("code", "refused the request"),
    ],
)
async def test_a_refused_submit_is_an_error_that_says_nothing_was_charged(fault: str, expected: str) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": f"a cat sandbox:submit={fault}"})
        assert result.is_error
        assert expected in text(result)
        assert "othing was charged" in text(result)
        assert MAY_BE_CHARGED not in text(result)
        assert KEY not in text(result)
        assert sandbox.stats.submits == 1


@pytest.mark.parametrize("fault", ["429", "500", "503"])
async def test_a_submit_refused_for_now_is_tried_at_most_three_times(fault: str) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": f"a cat sandbox:submit={fault}"})
        assert result.is_error
        assert fault in text(result)
        assert sandbox.stats.submits == 3
        assert sandbox.stats.charged == 0


@pytest.mark.parametrize("fault", ["429", "500", "503"])
async def test_a_submit_refused_once_succeeds_and_is_charged_once(fault: str) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": f"a cat sandbox:submit={fault}*1"})
        assert facts(result)["status"] == "pending"
        assert sandbox.stats.submits == 2
        assert sandbox.stats.charged == 1


@pytest.mark.parametrize(
    "fault", ["502", "504", "html", "empty", "garbage", "reset-before", "reset-after", "hang", "drip"]
)
async def test_a_submit_of_unknown_outcome_is_never_repeated_and_says_that_it_may_be_charged(fault: str) -> None:
    config = plain_config(drip_interval=0.2)
    async with serve_sandbox(config) as sandbox, client_at(sandbox.url, timeout_seconds=0.5) as client:
        result = await client.call_tool("generate_image", {"prompt": f"a cat sandbox:submit={fault}"})
        assert result.is_error
        assert MAY_BE_CHARGED in text(result)
        assert sandbox.stats.submits == 1


async def test_an_api_that_is_not_there_is_an_error_that_says_nothing_was_charged() -> None:
    async with plain_sandbox() as sandbox:
        gone = sandbox.url
    async with client_at(gone) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat"})
        assert result.is_error
        assert "could not be reached" in text(result)
        assert "nothing was charged" in text(result)


@pytest.mark.parametrize(
    "fault", ["500", "502", "503", "504", "html", "truncated", "empty", "garbage", "reset-after", "code"]
)
async def test_a_failed_query_is_an_error_that_says_that_queries_are_free(fault: str) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": f"a cat sandbox:query={fault}"})
        result = await client.call_tool("get_task", {"task_id": facts(made)["task_id"]})
        assert result.is_error
        assert MAY_BE_CHARGED not in text(result)
        assert sandbox.stats.charged == 1


def test_a_task_that_is_not_recorded_is_missing_here_and_not_refused_by_the_api() -> None:
    error = tool_error(TaskNotFound(NO_SUCH_TASK, hint=CHECK_THE_ID))
    assert str(error) == f"{NO_SUCH_TASK} {CHECK_THE_ID}"


async def test_a_query_without_a_network_says_nothing_about_the_charge_of_the_picture() -> None:
    with ExitStack() as api:
        sandbox = api.enter_context(sandbox_thread())
        async with client_at(sandbox.url) as client:
            task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
            api.close()
            result = await client.call_tool("get_task", {"task_id": task_id})
    assert result.is_error
    assert "could not be reached" in text(result)
    assert "Queries are free, and the task is not lost." in text(result)
    assert "charged" not in text(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", ["429", "500", "502", "503", "504", "html", "truncated", "empty", "garbage", "reset-after", "code"]
)
async def test_a_wait_survives_failed_queries(fault: str) -> None:
    async with plain_sandbox(seconds=0.0) as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": f"a cat sandbox:query={fault}*1"})
        result = await client.call_tool("wait_for_image", {"task_id": facts(made)["task_id"]})
        assert facts(result)["status"] == "success"


@pytest.mark.slow
async def test_a_wait_whose_queries_all_fail_ends_with_the_state_and_the_error() -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": "a cat sandbox:query=503"})
        task_id = facts(made)["task_id"]
        result = await client.call_tool("wait_for_image", {"task_id": task_id, "timeout_seconds": 3})
        assert not result.is_error
        assert facts(result)["status"] == "pending"
        assert "503" in facts(result)["message"]
        assert task_id in facts(result)["next_step"]


async def test_a_refused_key_ends_a_wait_at_once_with_words_about_the_key() -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool("generate_image", {"prompt": "a cat sandbox:query=401"})
        result = await client.call_tool("wait_for_image", {"task_id": facts(made)["task_id"]})
        assert result.is_error
        assert "DEFAPI_API_KEY" in text(result)


@pytest.mark.parametrize("key", [None, "", "${DEFAPI_API_KEY}", "${user_config.api_key}"])
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("generate_image", {"prompt": "a cat"}),
        ("get_task", {"task_id": "ta1"}),
        ("wait_for_image", {"task_id": "ta1"}),
    ],
)
async def test_without_a_key_each_call_says_how_to_set_one_or_use_the_sandbox(
    key: str | None, tool: str, arguments: dict[str, str]
) -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url, api_key=key) as client:
        assert (await client.list_tools()).tools
        result = await client.call_tool(tool, arguments)
        assert result.is_error
        assert "DEFAPI_API_KEY" in text(result)
        assert "--sandbox" in text(result)
        assert sandbox.stats.submits == sandbox.stats.queries == 0


@pytest.mark.parametrize(
    "environment",
    [
        {"HTTP_PROXY": "http://127.0.0.1:9"},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTP_PROXY": "foo:bar:baz"},
        {"HTTPS_PROXY": "ftp://x"},
        {"NO_PROXY": "127.0.0.1,::1/128"},
        {"SSL_CERT_FILE": "/no/such/file.pem"},
    ],
    ids=str,
)
async def test_proxies_and_certificates_of_the_environment_do_not_stand_before_the_sandbox(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        assert facts(result)["status"] == "success"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PROXY", "ftp://me:secret@x"),
        ("ALL_PROXY", "foo:secret:baz"),
        ("SSL_CERT_FILE", "/no/such/file.pem"),
        ("SSL_CERT_DIR", "/no/such/folder"),
    ],
)
async def test_a_proxy_or_certificate_file_that_cannot_be_used_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "::1/128")
    monkeypatch.setenv(name, value)
    async with client_at("https://api.example.org") as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat"})
        assert result.is_error
        assert f"{name} cannot be used" in text(result)
        assert not {"HTTP_PROXY", "NO_PROXY"} & set(text(result).split())
        assert "nothing was charged" in text(result)
        assert "secret" not in text(result)


@pytest.mark.parametrize("key", ["k", "ta", "task_id", "data"])
async def test_a_key_that_occurs_in_every_answer_does_not_damage_them(key: str) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url, api_key=key) as client:
        result = await client.call_tool("generate_image", {"prompt": "a cat", "wait_seconds": 240})
        assert facts(result)["status"] == "success"


async def test_a_wait_that_is_given_up_keeps_the_task_id_and_the_next_step() -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat sandbox:query=401"}))["task_id"]
        result = await client.call_tool("wait_for_image", {"task_id": task_id})
        assert result.is_error
        assert facts(result)["task_id"] == task_id
        assert task_id in facts(result)["next_step"]


@pytest.mark.parametrize("fault", ["400", "401", "402", "403"])
async def test_a_wait_survives_passing_gateway_errors(fault: str) -> None:
    async with plain_sandbox(seconds=0) as sandbox, client_at(sandbox.url) as client:
        made = await client.call_tool(
            "generate_image", {"prompt": f"a cat sandbox:query={fault}*2", "wait_seconds": 240}
        )
        assert facts(made)["status"] == "success"


async def test_the_status_of_an_unreachable_task_of_another_program_is_unknown() -> None:
    async with plain_sandbox() as sandbox:
        gone = sandbox.url
    async with client_at(gone) as client:
        result = await client.call_tool("wait_for_image", {"task_id": "ta-of-someone", "timeout_seconds": 1})
        assert facts(result)["status"] == "unknown"
        assert "wait_for_image" in facts(result)["next_step"]


async def test_an_unknown_tool_is_answered_with_the_existing_ones_in_a_short_text() -> None:
    async with plain_sandbox() as sandbox, client_at(sandbox.url) as client:
        result = await client.call_tool("make_picture" * 10_000, {})
        assert result.is_error
        assert "generate_image" in text(result)
        assert "read_picture" not in text(result)
        assert len(text(result)) < 300
