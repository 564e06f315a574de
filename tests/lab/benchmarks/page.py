"""``docs/performance.md`` and its plot, made from the figures beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tests.lab.benchmarks.figures import MET, MISSED, NOT_MEASURED, Report, Row, Trade, beside
from tests.lab.benchmarks.groups import GROUPS
from tests.lab.benchmarks.plot import growth, plot
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
FIGURES = DOCS / "performance.json"
PAGE = DOCS / "performance.md"
PLOT = DOCS / "lag-and-queries.svg"
GROWTH_PLOT = DOCS / "growth.svg"


def page(report: Report) -> str:
    """The page, as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def write() -> None:
    """Make both anew."""
    report = Report.from_json(FIGURES.read_text(encoding="utf-8"))
    PAGE.write_text(page(report), encoding="utf-8")
    PLOT.write_text(plot(report.trades), encoding="utf-8")
    grown = [row for row in report.rows if row.group == "growth"]
    if grown:
        GROWTH_PLOT.write_text(growth(grown), encoding="utf-8")


def _lines(report: Report) -> Iterator[str]:
    yield "# Performance"
    yield ""
    yield "<!-- Made by `make bench-docs`, or from performance.json by `python -m tests.support.documents`. -->"
    yield ""
    yield from _conditions(report)
    yield ""
    reached = {row.group: row for row in reversed(report.rows) if row.verdict == MET}
    yield "## What is reached"
    yield ""
    yield "One figure of each part. All figures are below."
    yield ""
    yield from _table(reached[name] for name in GROUPS if name in reached)
    yield ""
    yield "## What is missed"
    yield ""
    missed = [row for row in report.rows if row.verdict in (MISSED, NOT_MEASURED)]
    if missed:
        yield from _table(missed)
    else:
        yield "Nothing: every target is met."
    yield ""
    yield "## Lag against queries"
    yield ""
    yield f"![How soon a finished picture is noticed, against the queries that takes]({PLOT.name})"
    yield ""
    for group in GROUPS.values():
        rows = [row for row in report.rows if row.group == group.name]
        if not rows:
            continue
        yield f"## {group.title}"
        yield ""
        yield " ".join(group.how.split())
        yield ""
        if group.name == "growth":
            yield f"![How long an answer takes in a ledger that grows]({GROWTH_PLOT.name})"
            yield ""
        yield from _table(rows)
        yield ""
    yield "## All lags and queries"
    yield ""
    yield from _trades(beside(report.trades))
    yield ""
    yield "## Repeat it"
    yield ""
    yield "```"
    yield "make bench                                    # everything, about 20 minutes; figures in build/bench.json"
    yield "make bench BENCH='--quick'                    # a first look"
    yield f"make bench BENCH='--only {','.join(list(GROUPS)[:2])}'   # or {', '.join(list(GROUPS)[2:])}"
    yield "make bench-docs                               # everything, and this page with its plots"
    yield "```"


def _conditions(report: Report) -> Iterator[str]:
    facts = report.conditions
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    yield (
        f"**{report.summary}.** Measured on {facts['date']} with {facts['implementation']} {facts['python']} on "
        f"{facts['system']} ({facts['machine']}, {facts['processors']} processors, load {facts['busy']} before it), "
        f"in {facts['seconds']} s, with {packages}."
    )
    yield ""
    yield (
        "A ratio compares figures of the same run, taken in turn, so it holds on any machine. Seconds and milliseconds "
        "depend on the machine and on its load. What needs a program that the machine does not have (Chromium, "
        f"PostgreSQL, FastMCP, Node) is “{NOT_MEASURED}”."
    )


def _table(rows: Iterable[Row]) -> Iterator[str]:
    yield "| | found | compared to | target | | spread |"
    yield "|---|--:|---|--:|---|---|"
    for row in rows:
        verdict = f"**{row.verdict}**" if row.verdict == MISSED else row.verdict
        cells = (row.what, row.shown, row.compared_to, row.promised, verdict, row.spread)
        yield f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _trades(trades: Iterable[Trade]) -> Iterator[str]:
    yield "| pictures take | | asked | how | mean lag | p95 lag | queries |"
    yield "|--:|---|---|---|--:|--:|--:|"
    for trade in trades:
        where = "measured" if trade.measured else "simulated"
        how = {None: "", True: "at once", False: "one by one"}[trade.at_once]
        p95 = "" if trade.p95 is None else f"{trade.p95:.2f} s"
        cells = (f"{trade.median:g} s", where, trade.asked, how, f"{trade.lag:.2f} s", p95, f"{trade.queries:.2f}")
        yield f"| {' | '.join(cells)} |"
