"""`history`: the table, the filters, the totals, and settling."""

from __future__ import annotations

import json
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread
from mcp.client import Client

from nano_banana_mcp.app import build_server
from nano_banana_mcp.commands.history import parse_since, totals
from nano_banana_mcp.generations.models import GeneratedImage, Generation, Status, new_generation_id
from nano_banana_mcp.ledger.listing import FILE_NAME
from nano_banana_mcp.ledger.sums import Sum
from nano_banana_mcp.storage import open_database
from tests.support.clients import KEY, facts
from tests.support.command_line import run_here as run
from tests.support.generations import new_batch
from tests.support.postgres import PASSWORD
from tests.support.sandbox import plain_sandbox
from tests.support.settings import settings_from

DAY = 86_400.0
NOW = 1_790_000_000.0


def made(prompt: str, age: float, *, model: str = "m", spent: str = "0.500000", api: str = "a") -> Generation:
    begun = NOW - age
    generation = Generation(new_generation_id(), prompt=prompt, model=model, api=api, created_at=begun)
    done = replace(
        generation.accepted(f"ta-{prompt.split(maxsplit=1)[0]}", begun), status=Status.SUCCESS, finished_at=begun + 30
    )
    return replace(done, credits_consumed=spent, images=(GeneratedImage(f"https://e.org/{prompt[0]}", "image/png"),))


State = dict[str, str]
"""The settings that name a ledger."""


@pytest.fixture(params=["disk", "PostgreSQL"])
def nothing_yet(request: pytest.FixtureRequest, tmp_path: Path) -> State:
    if request.param == "disk":
        return {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    return {"NANO_BANANA_LEDGER_URL": request.getfixturevalue("database")}


@pytest.fixture
def state(nothing_yet: State) -> State:
    ledger = open_database(settings_from(nothing_yet))
    ledger.save(made("cat on a roof", 3 * DAY))
    ledger.save(made("dog 100% wet", 2 * DAY, spent="1.25"))
    ledger.save(made("등대 lighthouse", 2 * DAY + 60, model="other"))
    ledger.save(made("sand castle", 1 * DAY, api="sandbox"))
    ledger.begin(Generation("in-unknown", prompt="lost one", model="m", api="a", created_at=NOW))
    ledger.close()
    return nothing_yet


def history(state: State, *arguments: str) -> str:
    ended = run("history", *arguments, settings=state)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def prompts(state: State, *arguments: str) -> list[str]:
    return [row["prompt"] for row in json.loads(history(state, "--json", *arguments))["generations"]]


def test_the_table_shows_state_credits_age_and_prompt_newest_first(state: State) -> None:
    shown = history(state)
    rows = [line for line in shown.splitlines() if "ta-" in line or "in-unknown" in line]
    assert [row.split()[1] for row in rows] == ["unknown", "success", "success", "success", "success"]
    assert "등대 lighthouse" in shown
    assert "(sandbox) sand castle" in shown
    assert "1.25" in rows[2]


def test_a_batch_has_a_column_and_is_shown_by_its_id(state: State) -> None:
    assert "batch" not in history(state).splitlines()[0]
    ledger = open_database(settings_from(state))
    for number in (1, 2):
        ledger.save(replace(made(f"version{number} of it", 4 * DAY), batch_id="ba-0123456789abcdef"))
    ledger.close()
    heading, *rows = history(state).splitlines()
    assert "batch" in heading.split()
    assert [row.split()[4] for row in rows if "version" in row] == ["ba-01234567…"] * 2
    for batch_id in ("ba-0123456789abcdef", "ba-01234567"):  # the column shows the beginning
        assert sorted(prompts(state, batch_id)) == ["version1 of it", "version2 of it"]
    missing = run("history", "ba-missing", settings=state)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no batch 'ba-missing'" in missing.stderr


def test_the_filters_can_be_combined(state: State) -> None:
    assert prompts(state) == ["lost one", "sand castle", "dog 100% wet", "등대 lighthouse", "cat on a roof"]
    assert prompts(state, "--status", "unknown") == ["lost one"]
    assert prompts(state, "--model", "other") == ["등대 lighthouse"]
    assert prompts(state, "--search", "등대") == ["등대 lighthouse"]
    assert prompts(state, "--search", "100%") == ["dog 100% wet"]
    assert prompts(state, "--search", "%") == ["dog 100% wet"]
    assert prompts(state, "--search", "ROOF", "--model", "m", "--status", "success") == ["cat on a roof"]
    assert prompts(state, "--limit", "2") == ["lost one", "sand castle"]
    assert prompts(state, "--since", "2100-01-01") == []


def test_a_search_for_two_letters_says_how_far_it_searched(state: State) -> None:
    short, longer = (run("history", "--json", "--search", text, settings=state) for text in ("등대", "등대 "))
    assert "in the newest 20,000 requests only" in short.stderr
    assert longer.stderr == ""


def test_as_json_it_loses_no_letter_to_a_code_page(state: State) -> None:
    assert "등대 lighthouse" in prompts({**state, "PYTHONIOENCODING": "cp1252"})


def test_totals_are_exact_sums_by_day_and_model_with_the_sandbox_apart(state: State) -> None:
    sums = json.loads(history(state, "--json", "--limit", "1"))["totals"]
    assert {(row["model"], row["sandbox"], row["credits"]) for row in sums} == {
        ("m", False, "0"),
        ("m", True, "0.500000"),
        ("m", False, "1.25"),
        ("other", False, "0.500000"),
        ("m", False, "0.500000"),
    }
    assert "Paid in all: 2.25 credits." in history(state)


def test_with_principals_each_row_names_one_and_the_totals_are_per_principal(nothing_yet: State) -> None:
    ledger = open_database(settings_from(nothing_yet))
    for principal, prompt, spent in (("alice", "cat", "1.5"), ("bob", "dog", "0.25"), ("alice", "owl", "0.5")):
        ledger.save(replace(made(prompt, DAY, spent=spent), principal=principal))
    ledger.save(replace(made("sand", DAY, api="sandbox"), principal="bob"))
    ledger.save(made("own", DAY, spent="0.1"))
    ledger.close()
    rows = history(nothing_yet).splitlines()
    assert "principal" in rows[0]
    assert [row.split()[4:] for row in rows if "ta-dog" in row] == [["bob", "m", "dog"]]
    assert [row.split()[4:] for row in rows if "ta-own" in row] == [["-", "m", "own"]]
    paid = rows.index(next(row for row in rows if row.startswith("principal")))
    assert [row.split() for row in rows[paid + 1 : paid + 4]] == [
        ["alice", "2", "2"],
        ["bob", "1", "0.25"],
        ["-", "1", "0.1"],
    ]
    assert prompts(nothing_yet, "--principal", "bob", "--search", "dog") == ["dog"]
    assert prompts(nothing_yet, "--principal", "") == ["own"]
    assert prompts(nothing_yet, "--principal", "nobody") == []
    report = json.loads(history(nothing_yet, "--json", "--principal", "alice"))
    assert {row["principal"] for row in report["generations"]} == {"alice"}
    assert report["principals"] == [{"principal": "alice", "generations": 2, "credits": "2.0"}]


def test_without_principals_there_is_no_column_for_them(state: State) -> None:
    assert "principal" not in history(state)


LONG = "lighthouse at dawn with many gulls over the sea and a small boat in the foreground, oil on canvas, warm light"


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("principal", ["", "alice"])
def test_a_long_prompt_is_cut_and_age_status_credits_and_id_never_are(
    principal: str, width: int, tmp_path: Path
) -> None:
    state = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    ids = [f"ta{number}87706-0058-4fca-a100-21dabd08b704" for number in range(2)]
    ledger = open_database(settings_from(state))
    for task_id, model in zip(ids, ("google/gempix2", "google/a-model-with-a-very-long-name"), strict=True):
        done = replace(made(LONG, DAY, model=model), task_id=task_id, principal=principal, batch_id="ba-0123456789ab")
        ledger.save(done)
    ledger.close()
    shown = run("history", settings=state, COLUMNS=str(width)).stdout
    heading, *rows = shown.splitlines()[:3]
    assert heading.split()[:4] == ["age", "status", "credits", "id"]
    assert heading.split()[-1] == "prompt"
    assert ("principal" in heading) is bool(principal)
    for task_id, row in zip(ids, sorted(rows, key=lambda row: row.split()[3]), strict=True):
        assert row.split()[1:4] == ["success", "0.5", task_id]
        assert row.endswith("…")
        assert LONG[:3] in row
        assert len(row) <= width
        assert principal in row


def test_a_terminal_that_is_too_narrow_for_an_id_shows_the_whole_id(state: State) -> None:
    rows = run("history", settings=state, COLUMNS="20").stdout.splitlines()
    assert "in-unknown" in rows[1]
    assert all(row.split()[1] in ("success", "unknown") for row in rows[1:6])


def test_sums_do_not_suffer_from_binary_fractions() -> None:
    [total] = totals([Sum(3, credits="0.1"), Sum(7, credits="0.10")])
    assert total["credits"] == "1.00"


@pytest.mark.parametrize(("text", "seconds"), [("12h", 12 * 3_600), ("7d", 7 * DAY), ("4W", 28 * DAY)])
def test_a_span_counts_back_from_now(text: str, seconds: float) -> None:
    assert parse_since(text, NOW) == NOW - seconds


@pytest.mark.parametrize("text", ["yesterday", "7", "-3d", "7dd", ""])
def test_a_since_that_is_neither_date_nor_span_is_refused_with_a_message(text: str) -> None:
    ended = run("history", f"--since={text}")
    assert ended.returncode == 2
    assert "--since" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_empty_ledger_has_a_message(nothing_yet: State) -> None:
    assert "Nothing yet" in history(nothing_yet)


def test_the_doctor_reports_the_state_of_the_ledger(state: State) -> None:
    ended = run("doctor", "--sandbox", settings=state)
    assert ended.returncode == 0
    assert re.search(r"^ok +ledger +5 generations, 1 of them open or unknown", ended.stdout, re.MULTILINE)


def test_an_unreachable_database_is_reported_without_the_password() -> None:
    url = f"postgresql://nano:{PASSWORD}@127.0.0.1:9/nano"
    for arguments in (["doctor", "--sandbox"], ["history"], ["history", "settle"]):
        ended = run(*arguments, NANO_BANANA_LEDGER_URL=url)
        assert ended.returncode == 1
        assert "NANO_BANANA_LEDGER_URL cannot be used" in ended.stdout + ended.stderr
        assert PASSWORD not in ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr


def test_an_unusable_ledger_is_reported_with_a_message(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    for arguments in (["history"], ["history", "settle"]):
        ended = run(*arguments, settings={"NANO_BANANA_STATE_DIR": str(tmp_path)})
        assert ended.returncode == 1
        assert FILE_NAME in ended.stderr
        assert "Traceback" not in ended.stderr


def test_the_doctor_names_a_ledger_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"garbage " * 1_000)
    ended = run("doctor", "--sandbox", settings={"NANO_BANANA_STATE_DIR": str(tmp_path)})
    assert ended.returncode == 1
    assert "FAIL  ledger" in ended.stdout
    assert "not a database" in ended.stdout


async def test_settle_queries_open_tasks_and_reports_unknown_outcomes_as_possibly_charged(nothing_yet: State) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url, **nothing_yet}
        async with Client(build_server(settings_from(settings))) as client:
            made = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))
            lost = facts(await client.call_tool("generate_image", {"prompt": "x sandbox:submit=reset-after"}))
        ended = await in_thread(lambda: run("history", "settle", settings=settings))
        assert ended.returncode == 0, ended.stderr
        lines = dict(line.split("  ", 1) for line in ended.stdout.splitlines())
        assert lines[made["task_id"]].startswith("success")
        assert "may have been charged" in lines[lost["task_id"]]
        assert sandbox.stats.submits == 2
        assert sandbox.stats.queries == 1
    ledger = open_database(settings_from(nothing_yet))
    generation = ledger.find(made["task_id"])
    ledger.close()
    assert generation is not None
    assert generation.status is Status.SUCCESS


def test_settle_says_of_what_was_never_sent_that_it_was_not_charged(nothing_yet: State) -> None:
    with closing(open_database(settings_from(nothing_yet))) as ledger:
        [first, _] = ledger.begin_batch(new_batch(2))
    ended = run("history", "settle", settings={"NANO_BANANA_SANDBOX": "1", **nothing_yet})
    lines = dict(line.split("  ", 1) for line in ended.stdout.splitlines())
    assert lines[first.public_id] == "not sent, so not charged"


async def test_settle_updates_the_row_of_an_authenticated_caller_and_adds_none(nothing_yet: State) -> None:
    async with plain_sandbox(seconds=0) as sandbox:
        settings = {"DEFAPI_API_KEY": KEY, "DEFAPI_BASE_URL": sandbox.url, **nothing_yet}
        async with Client(build_server(settings_from(settings))) as client:
            task_id = facts(await client.call_tool("generate_image", {"prompt": "a cat"}))["task_id"]
        with closing(open_database(settings_from(nothing_yet))) as ledger:
            generation = ledger.find(task_id)
            assert generation is not None
            ledger.delete(generation.generation_id, unfinished=True)
            ledger.save(replace(generation, generation_id="in-alice", principal="alice"))
        ended = await in_thread(lambda: run("history", "settle", settings=settings))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{task_id}  success")
    with closing(open_database(settings_from(nothing_yet))) as ledger:
        rows = [(row.generation_id, row.principal, row.status) for row in ledger.history()]
    assert rows == [("in-alice", "alice", Status.SUCCESS)]
