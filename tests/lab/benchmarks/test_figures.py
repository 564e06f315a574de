"""The page and the plot of the benchmarks show the measured figures, and missed targets as missed."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nano_banana_mcp.tracking.schedule import Schedule
from tests.lab.benchmarks import __main__ as program
from tests.lab.benchmarks import cold_start, detection, never, peer, sizes
from tests.lab.benchmarks.concurrent_waits import IMAGES, ROUND_TRIP, lags_of_concurrent_waits
from tests.lab.benchmarks.figures import BOUND, MET, MISSED, NOT_MEASURED, POLLING, Report, Row, Trade, lines
from tests.lab.benchmarks.groups import GROUPS, Group
from tests.lab.benchmarks.page import FIGURES, PAGE, PLOT, page
from tests.lab.benchmarks.plot import SERIES, growth, plot
from tests.lab.torture.tally import Tally
from tests.support import npm
from tests.support.npm import PackageUnavailableError
from tests.support.paths import ROOT

COMMITTED = Report.from_json(FIGURES.read_text(encoding="utf-8"))

PROMISES = {
    "cold-start": ("spawn to tools/list, against a bare SDK echo server", "spawn to the first tools/call"),
    "per-call": (
        *(f"get_task of {task} task over {name}" for task in ("an open", "a finished") for name in ("stdio", "HTTP")),
        *(f"generate_image over {name}, without waiting" for name in ("stdio", "HTTP")),
        "calls a second",
    ),
    "memory": ("until the first call, stdio, against a bare SDK echo server",),
    "sizes": ("tools/list", "get_task, finished: text", "5 MB, finished: text", "structured"),
    "detection": tuple(
        f"{median} s, {part}"
        for median in (12, 45, 180)
        for part in (
            "polling: mean lag",
            "one by one, 10 % of callbacks lost: p95 lag",
            "a hundred at once, 10 % of callbacks lost: p95 lag",
            "all callbacks lost: mean lag",
        )
    ),
    "webhook": ("webhook: p95 lag", "10 % lost: p95 lag", "all lost: mean lag"),
    "load": ("1,000 waits: ended", "1,000 waits: resident", "1,000 waits: longest round", "3,000 waits: ended"),
    "crowds": (
        "100 waits for 100 tasks",
        "20 processes with 50 tasks each on one ledger: rows",
        "kill -9 in the middle of a submit: lost",
        "kill -9 in the middle of a submit: posted twice",
        "a client that leaves in the middle of a submit: lost",
        "forged, malformed and replayed callbacks: what changed",
        "forged, malformed and replayed callbacks: queries",
        "forged, malformed and replayed callbacks: memory",
    ),
    "never": (
        *(corpus.what for corpus in never.CORPORA),
        "fetch, callback or call: lost",
        "fetch, callback or call: sent twice",
        "odd requests and bytes, over stdio",
    ),
    "replicas": (
        "wait at another replica: p95",
        "processor seconds of three replicas",
        "killed under load: longest lag",
        "killed under load: posted twice",
        "killed under load: lost",
    ),
    "pictures": (
        "on the wire",
        "time of a call",
        "memory",
        "first paint",
        "the upload page",
        "in a conversation in Chromium",
    ),
    "growth": tuple(
        f"{what}: 1,000,000 requests, {where}"
        for what in ("history", "browse", "no prompt", "get", "submit with limits", "resources/list", "first page")
        for where in ("SQLite", "PostgreSQL")
    ),
}
"""By group, parts of the names of figures for which there is a target."""


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (Row("x", 1.1, "×", relation="≤", target=1.1), MET),
        (Row("x", 1.1001, "×", relation="≤", target=1.1), MISSED),
        (Row("x", 1.0, "×", relation="<", target=1.0), MISSED),
        (Row("x", 0.8, "×", relation="≥", target=0.8), MET),
        (Row("x", 0.79, "×", relation="≥", target=0.8), MISSED),
        (Row("x", 1, "", relation="=", target=0), MISSED),
        (Row("x", None, "×", relation="≤", target=1.1), NOT_MEASURED),
        (Row("x", 3, "MB"), ""),
    ],
    ids=str,
)
def test_a_figure_is_judged_by_its_target(row: Row, verdict: str) -> None:
    assert row.verdict == verdict


def test_a_narrow_miss_is_not_rounded_to_the_target() -> None:
    assert Row("x", 1.1004, "×", target=1.1).shown == "1.1004 ×"
    assert Row("x", 1.207, "", target=1.2).shown == "1.21"


def test_the_table_shows_a_miss_as_a_miss_and_counts_it() -> None:
    report = Report({})
    report.add("cold-start", Row("kept", 1.0, "×", "something", target=1.1))
    report.add("cold-start", Row("broken", 1.5, "×", "something", target=1.1))
    report.add("sizes", Row("elsewhere", None, "kB", target=3, spread="nothing to compare"))
    shown = list(lines(report, {"cold-start": "Cold start", "sizes": "Bytes"}))
    [met_line] = [line for line in shown if "kept" in line]
    [broken] = [line for line in shown if "broken" in line]
    [elsewhere] = [line for line in shown if "elsewhere" in line]
    assert met_line.split() == ["kept", "1.00", "×", "something", "≤", "1.1", "×", "met"]
    assert broken.split() == ["broken", "1.50", "×", "something", "≤", "1.1", "×", "MISSED"]
    assert elsewhere.split()[-2:] == ["not", "measured"]
    assert shown[-1].strip() == "3 figures, 3 with a target: 1 met, 1 MISSED, 1 not measured"


def test_a_report_written_as_json_is_read_back() -> None:
    report = Report({"python": "3.11"})
    report.add("a", Row("what", 1.25, "×", "that", "≥", 0.8, "wide"))
    report.add("a", Row("nothing", None))
    report.add("b", Trade(12.0, "webhook", True, False, 0.27, 0.3, 1.15))
    assert Report.from_json(report.to_json()) == report
    assert [row["verdict"] for row in json.loads(report.to_json())["rows"]] == ["met", "not measured"]


def test_the_page_and_the_plot_are_as_the_figures_beside_them_say() -> None:
    """If not: python -m tests.support.documents"""
    assert PAGE.read_text(encoding="utf-8") == page(COMMITTED)
    assert PLOT.read_text(encoding="utf-8") == plot(COMMITTED.trades)


def test_the_page_lists_targets_met_then_targets_missed_then_every_figure() -> None:
    report = Report({**COMMITTED.conditions})
    report.add("cold-start", Row("fast enough", 1.0, "×", target=1.1))
    report.add("cold-start", Row("too slow", 1.5, "×", target=1.1))
    report.add("detection", Trade(12.0, "fixed 2 s", None, False, 1.2, 2.0, 6.6))
    written = page(report)
    assert written.count("| too slow | 1.50 × |  | ≤ 1.1 × | **MISSED** |") == 2
    assert written.count("| fast enough | 1.00 × |  | ≤ 1.1 × | met |") == 2
    order = ["## What is reached", "| fast enough", "## What is missed", "| too slow", "## Cold start over stdio"]
    assert [written.index(part) for part in order] == sorted(written.index(part) for part in order)
    assert len(written[: written.index("| fast enough")].split()) < 300


def test_a_page_without_a_missed_target_says_so_and_an_unmeasured_figure_is_not_met() -> None:
    report = Report({**COMMITTED.conditions})
    report.add("cold-start", Row("fast enough", 1.0, "×", target=1.1))
    assert "Nothing: every target is met." in page(report)
    report.add("replicas", Row("not seen", None, spread="there is no initdb"))
    written = page(report)
    assert "Nothing: every target is met." not in written
    missed = written[written.index("## What is missed") : written.index("## Lag against queries")]
    assert "| not seen | - |  |  | not measured | there is no initdb |" in missed


def test_published_figures_are_of_a_whole_run_and_name_no_machine() -> None:
    assert COMMITTED.conditions["quick"] is False
    assert {row.group for row in COMMITTED.rows} >= set(GROUPS)
    text = FIGURES.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|work|usr|opt)\b|https?://", text)
    assert os.uname().nodename not in text


@pytest.mark.parametrize("group", PROMISES)
def test_every_promise_is_measured_with_its_target(group: str) -> None:
    named = [row.what for row in COMMITTED.rows if row.group == group and row.target is not None]
    for part in PROMISES[group]:
        assert any(part in what for what in named), part


def test_the_plot_holds_every_series_in_every_panel_and_is_well_formed() -> None:
    drawn = ElementTree.fromstring(plot(COMMITTED.trades))
    titles = [element.text or "" for element in drawn.iter("{http://www.w3.org/2000/svg}title")]
    trades = defaultdict(list)
    for trade in COMMITTED.trades:
        trades[trade.measured, trade.median].append(trade)
    assert set(trades) == {(False, 12.0), (False, 45.0), (False, 180.0), (True, 3.0)}
    for (measured, _), own in trades.items():
        names = {trade.asked for trade in own}
        assert {"fixed 2 s", "fixed 5 s", "fixed 10 s", "webhook", "10 % lost", "all lost"} <= names
        assert ("polling alone" if measured else POLLING) in names
        assert (BOUND in names) is not measured
    assert len(titles) == 1 + sum(
        any(trade.asked.startswith(series.asked) for series in SERIES) for trade in COMMITTED.trades
    )
    assert sum(element.get("class") == "bound" for element in drawn.iter()) == 3 + 1  # and the legend's
    assert {name for element in drawn.iter() if (name := element.get("class"))} >= {series.name for series in SERIES}


def test_growth_is_drawn_for_each_database_with_a_line_for_each_thing_and_its_name() -> None:
    rows = [
        Row(f"{what}: {size} requests, {where}", milliseconds, "ms", target=200)
        for where in ("SQLite", "PostgreSQL")
        for what in ("history", "browse, a rare text")
        for size, milliseconds in (("100", 0.4), ("10,000", 3.0), ("1,000,000", 250.0))
    ]
    drawn = ElementTree.fromstring(growth([*rows, Row("growth in PostgreSQL", None)]))
    assert len(list(drawn.iter("{http://www.w3.org/2000/svg}polyline"))) == 4
    texts = [element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"SQLite", "PostgreSQL", "history", "browse, a rare text", "1,000,000"} <= set(texts)


def test_a_callback_ends_a_wait_at_once_and_a_lost_one_is_noticed_by_a_safety_query() -> None:
    lags = lags_of_concurrent_waits(12.0, lost=10, seed=1)
    assert len(lags) == IMAGES
    assert statistics.median(lags) == pytest.approx(ROUND_TRIP)
    assert 2.0 < max(lags) <= 1.2 * Schedule().safety_interval + Schedule().review


def test_without_npm_the_servers_on_node_are_not_measured_and_the_row_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_fastmcp() -> list[str]:
        raise PackageUnavailableError("pip cannot install it")

    monkeypatch.setattr(npm, "FOLDER", tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(peer, "fastmcp", no_fastmcp)
    monkeypatch.setattr(cold_start, "measure", lambda starts, rounds: [[0.1] * rounds for _ in starts])
    rows = {row.what: row for row in cold_start.rows(True)}
    for name, version in peer.NODE_SERVERS.items():
        row = rows[f"spawn to tools/list, against {name} {version} on Node"]
        assert (row.verdict, row.spread) == (NOT_MEASURED, "there is no npm")
    assert rows["spawn to tools/list, against a bare SDK echo server"].target == cold_start.TARGET_LIST_RATIO


def test_no_simulated_trade_of_ours_is_better_than_the_bound() -> None:
    """Of 5,000 pictures: chance has little room."""
    for trade in COMMITTED.trades:
        if trade.asked == POLLING:
            assert detection.fewest_queries(bound(COMMITTED, trade.median), trade.lag) <= trade.queries * 1.02


def bound(report: Report, median: float) -> list[tuple[float, float]]:
    return [(trade.lag, trade.queries) for trade in report.trades if (trade.median, trade.asked) == (median, BOUND)]


def test_cases_of_a_corpus_are_counted_and_failures_are_named() -> None:
    output = ElementTree.fromstring(
        """<testsuites><testsuite>
        <testcase classname="tests.a.test_x" name="test_one[a]"/>
        <testcase classname="tests.a.test_x" name="test_one[b]"><failure message="it leaked"/></testcase>
        <testcase classname="tests.a.test_x" name="test_two"><properties><property name="cases" value="40"/>
        </properties></testcase>
        <testcase classname="tests.a.test_x" name="test_three"><skipped message="there is no browser"/></testcase>
        </testsuite></testsuites>"""
    )
    corpora = [
        never.Corpus("leaks", ("a/test_x.py::test_one", "a/test_x.py::test_two")),
        never.Corpus("pages", ("a/test_x.py::test_three",)),
    ]
    rows_found = never.outcomes(output, corpora)
    leaks, pages = (never.row(corpus.what, rows_found[corpus.what]) for corpus in corpora)
    assert (leaks.found, leaks.compared_to, leaks.verdict, leaks.spread) == (1, "of 42", MISSED, "test_one[b]")
    assert (pages.verdict, pages.spread) == (NOT_MEASURED, "there is no browser")


def test_losses_of_the_torture_tests_are_counted_with_the_number_of_cases() -> None:
    tally = Tally("a part")
    tally.passed(9)
    tally.failed("lost: one", "lost")
    shown = [(row.found, row.compared_to, row.verdict) for row in never.tortured("it", [tally])]
    assert shown == [(1, "of 10", MISSED), (0, "of 10", MET), (0, "of 10", MET)]


@pytest.mark.parametrize("corpus", never.CORPORA, ids=lambda corpus: corpus.what)
def test_every_test_of_a_corpus_is_there(corpus: never.Corpus) -> None:
    for test in corpus.tests:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / "tests" / file).read_text("utf-8"), test


def test_a_group_can_be_run_alone_and_leaves_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bench.json"
    monkeypatch.setattr(program, "LOG", tmp_path / "bench.log")
    assert program.main(["--quick", "--only", "detection", "--json", str(file)]) == 0
    output = capsys.readouterr().out
    report = Report.from_json(file.read_text(encoding="utf-8"))
    assert report.conditions["quick"] is True
    assert {row.group for row in report.rows} == {"detection"}
    assert report.summary in output
    assert all(row.what in output for row in report.rows)
    assert {trade.asked for trade in report.trades} >= {"fixed 2 s", "fixed 5 s", "fixed 10 s", POLLING, BOUND}
    for computed, committed in zip(bound(report, 12.0), bound(COMMITTED, 12.0), strict=True):
        assert computed == pytest.approx(committed)


def _breaks(quick: bool) -> Iterator[Row]:
    yield Row("one before", 1.0, "×", target=1.1)
    raise ExceptionGroup("of a task group", [OSError("no port is free\nat all")])


BREAKING = {
    "breaks": Group("breaks", "What breaks off", "", _breaks),
    "holds": Group("holds", "What goes on", "", lambda quick: [Row("one after", 2.0, "×", target=1.1)]),
}


@pytest.mark.parametrize("arguments", [[], ["--docs"]])
def test_a_group_that_fails_is_reported_and_costs_only_its_own_figures(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file, log, docs = tmp_path / "bench.json", tmp_path / "bench.log", tmp_path / "performance.json"
    monkeypatch.setattr(program, "LOG", log)
    monkeypatch.setattr(program, "FIGURES", docs)
    monkeypatch.setattr(program, "write", lambda: pytest.fail("the page must stay as it was"))
    assert program.main([*arguments, "--json", str(file)], BREAKING) == 1
    output = capfd.readouterr()
    assert "one before" in output.out
    assert "one after" in output.out
    assert "BROKE OFF: OSError: no port is free at all" in output.out
    assert output.out.strip().endswith("2 figures, 2 with a target: 1 met, 1 MISSED; 1 BROKE OFF: breaks")
    assert "breaks: BROKE OFF" in output.err
    assert "Traceback" in log.read_text("utf-8")
    assert Report.from_json(file.read_text("utf-8")).broken == {"breaks": "OSError: no port is free at all"}
    assert not docs.exists()


def test_a_run_in_which_nothing_broke_off_ends_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "LOG", tmp_path / "bench.log")
    assert program.main(["--only", "holds", "--json", str(tmp_path / "bench.json")], BREAKING) == 0


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--docs", "--quick"], ["--docs", "--only", "sizes"]])
def test_arguments_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(arguments)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_sizes_are_within_their_targets() -> None:
    assert [(row.what, row.shown) for row in sizes.rows(True) if row.verdict == MISSED] == []


def test_fastmcp_is_compared_with_the_same_sdk() -> None:
    """After `make pins`, which renews both."""

    def versions(file: Path) -> dict[str, str]:
        named = [line.split(" ")[0].split("==") for line in file.read_text("utf-8").splitlines() if "==" in line]
        return dict(named)

    ours, theirs = versions(ROOT / "constraints.txt"), versions(peer.PINS)
    for name in ("mcp", "mcp-types", "anyio", "pydantic", "pydantic-core", "starlette", "httpx2", "uvicorn"):
        assert theirs[name] == ours[name], name
