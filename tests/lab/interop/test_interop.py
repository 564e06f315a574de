"""The table of clients: a deviation from the catalogue is a problem."""

from __future__ import annotations

from pathlib import Path

import pytest

from nano_banana_tools.registry import tools
from tests.lab.interop.catalog import ALL, OF_THE_MODEL, Entry
from tests.lab.interop.table import NO, NOT_RUN, Row, judge
from tests.lab.interop.walk import SHOWS, Seen
from tests.support import npm

ENTRY = Entry("Some client", "program", without={"updates": "it has none"})


def as_it_should_be() -> Row:
    shows = [what for what in SHOWS if what != "updates"]
    return Row(ENTRY, "stdio", Seen("1", "2026-07-28", sorted(ALL), dict.fromkeys(ALL, "ok"), shows))


def problems(row: Row) -> list[str]:
    judge(row)
    return row.problems


def test_the_clients_are_held_to_all_tools_that_there_are() -> None:
    assert {tool.name for tool in tools()} == ALL
    hidden = {tool.name for tool in tools() if (tool.meta or {}).get("ui", {}).get("visibility") == ["app"]}
    assert hidden == ALL - OF_THE_MODEL


def test_a_client_that_sees_what_it_should_has_no_problem() -> None:
    assert problems(as_it_should_be()) == []


def test_less_and_more_than_the_catalogue_says_are_problems() -> None:
    less, more, tool, call = (as_it_should_be() for _ in range(4))
    assert less.seen
    less.seen.shows.remove("picture")
    assert more.seen
    more.seen.shows.append("updates")
    assert tool.seen
    tool.seen.tools.remove("view_image")
    assert call.seen
    call.seen.calls["get_task"] = "error: it broke"
    assert [problems(row)[0].split(":")[0] for row in (less, more, call)] == ["picture", "updates", "get_task"]
    assert problems(tool)[0].startswith("it lists")
    assert NO in less.cells()


def test_a_client_that_was_not_run_is_a_problem_and_its_row_shows_it() -> None:
    row = Row(ENTRY, "HTTP")
    assert problems(row)
    assert NOT_RUN in row.cells()


def test_without_npm_the_error_says_that_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(npm, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(npm.PackageUnavailableError, match="there is no npm"):
        npm.packages("nothing", {"some-package": "1.0.0"})
