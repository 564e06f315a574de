"""`doctor --public-url`: whether the address that the API is given leads to this very server."""

from __future__ import annotations

from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread

from nano_banana_mcp.http.signing import KEY_FILE
from tests.support.command_line import run_here
from tests.support.fault_server import Step, fault_server
from tests.support.faults import close_after_reading, html, redirect, reply
from tests.support.http_server import free_port, served


def line(output: str) -> str:
    [match] = [item for item in output.splitlines() if "public URL" in item]
    return match


def test_a_url_that_leads_to_this_server_is_confirmed(tmp_path: Path) -> None:
    state = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with served("--sandbox", "--port", str(port), NANO_BANANA_PUBLIC_URL=url, NANO_BANANA_STATE_DIR=tmp_path):
        by_argument = run_here("doctor", "--sandbox", "--public-url", url, settings=state)
        by_setting = run_here("doctor", "--sandbox", "--public-url", settings={**state, "NANO_BANANA_PUBLIC_URL": url})
    for ended in (by_argument, by_setting):
        assert line(ended.stdout).startswith("ok  ")
        assert ended.returncode == 0


def test_a_server_with_other_keys_is_another_server(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with served("--sandbox", "--port", str(port), NANO_BANANA_PUBLIC_URL=url, NANO_BANANA_STATE_DIR=tmp_path / "a"):
        ended = run_here("doctor", "--sandbox", "--public-url", url, NANO_BANANA_STATE_DIR=str(tmp_path / "b"))
    assert line(ended.stdout).startswith("FAIL")
    assert "NANO_BANANA_WEBHOOK_KEYS" in ended.stdout
    assert ended.returncode == 1


def test_on_another_machine_the_probe_is_signed_with_the_given_keys_and_no_key_is_created(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    here = tmp_path / "here"
    with served("--sandbox", "--port", str(port), NANO_BANANA_PUBLIC_URL=url, NANO_BANANA_STATE_DIR=tmp_path / "a"):
        keys = (tmp_path / "a" / KEY_FILE).read_text(encoding="ascii")
        ask = ("doctor", "--sandbox", "--public-url", url)
        with_none = run_here(*ask, NANO_BANANA_STATE_DIR=str(here))
        with_keys = run_here(*ask, NANO_BANANA_STATE_DIR=str(here), NANO_BANANA_WEBHOOK_KEYS=f"{keys},old")
    assert line(with_none.stdout).startswith("FAIL")
    assert line(with_keys.stdout).startswith("ok  ")
    assert not (here / KEY_FILE).exists()


def test_a_database_that_is_away_is_reported(tmp_path: Path) -> None:
    away = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    settings = {"NANO_BANANA_STATE_DIR": str(tmp_path), "NANO_BANANA_LEDGER_URL": away}
    ended = run_here("doctor", "--sandbox", "--public-url", "http://127.0.0.1:9", settings=settings)
    assert "cannot be checked" in line(ended.stdout)
    assert ended.stderr == ""
    assert ended.returncode == 1


def test_an_address_without_a_server_is_reported(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = run_here("doctor", "--sandbox", "--public-url", url, NANO_BANANA_STATE_DIR=str(tmp_path))
    assert line(ended.stdout).startswith("FAIL")
    assert "No connection" in ended.stdout


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(200, "hi"), "Another server answers"),
        (reply(404, "Not Found"), "Another server answers"),
        (redirect("https://x.example/"), "redirect"),
        (html(502), "not running"),
        (close_after_reading(), "The request failed"),
    ],
    ids=["other", "missing", "redirect", "gateway", "closed"],
)
async def test_any_other_server_at_the_url_is_reported(answer: Step, words: str, tmp_path: Path) -> None:
    async with fault_server(answer) as server:
        state = {"NANO_BANANA_STATE_DIR": str(tmp_path)}
        ended = await in_thread(lambda: run_here("doctor", "--sandbox", "--public-url", server.url, settings=state))
    assert line(ended.stdout).startswith("FAIL")
    assert words in ended.stdout


def test_a_missing_url_is_reported(tmp_path: Path) -> None:
    ended = run_here("doctor", "--sandbox", "--public-url", NANO_BANANA_STATE_DIR=str(tmp_path))
    assert "it is not set" in line(ended.stdout)
    assert ended.returncode == 1
