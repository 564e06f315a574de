"""The results of a benchmark: figures, each with its comparison and its target."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Relation = Literal["≤", "<", "≥", "="]

_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "≤": operator.le,
    "<": operator.lt,
    "≥": operator.ge,
    "=": operator.eq,
}
_DECIMALS = {"×": 2, "": 2, "bytes": 0, "kB": 1, "MB": 1, "ms": 1, "s": 2}

MISSED = "MISSED"
MET = "met"
NOT_MEASURED = "not measured"

BOUND = "no schedule can do better"
POLLING = "polling"
"""Of trades: the optimum, and ours once there is something to learn from."""


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        found: None where it could not be measured here; ``spread`` then says why.
        unit: ``×`` for a ratio, nothing for a count, or bytes, kB, MB (decimal), ms or s.
        compared_to: What stands on the other side of the ratio, or what others need, in words.
        target: What was promised, if anything was: ``found`` is to be in this ``relation`` to it.
        spread: How far single rounds lay apart, or under which conditions it was found.
    """

    what: str
    found: float | None
    unit: str = ""
    compared_to: str = ""
    relation: Relation = "≤"
    target: float | None = None
    spread: str = ""
    group: str = ""

    @property
    def verdict(self) -> str:
        """Whether what was promised is kept; empty where nothing was."""
        if self.found is None:
            return NOT_MEASURED
        if self.target is None:
            return ""
        return MET if _HOLDS[self.relation](self.found, self.target) else MISSED

    @property
    def shown(self) -> str:
        """The measured value, with as many digits as the verdict needs."""
        if self.found is None:
            return "-"
        decimals = _DECIMALS[self.unit]
        if not self.unit and self.found == int(self.found):
            decimals = 0
        if self.unit == "s" and 0 < self.found < 0.1:
            decimals = 3
        if self.target is not None:
            is_met = self.verdict == MET
            while decimals < 6 and _HOLDS[self.relation](round(self.found, decimals), self.target) is not is_met:
                decimals += 1
        return _with_unit(f"{self.found:,.{decimals}f}", self.unit)

    @property
    def promised(self) -> str:
        """The target in words; empty without a target."""
        if self.target is None:
            return ""
        number = f"{self.target:,.0f}" if self.target == int(self.target) else f"{self.target:,.6g}"
        return f"{self.relation} {_with_unit(number, self.unit)}"


@dataclass(frozen=True)
class Trade:
    """How soon the ends of pictures are noticed, for how many queries: one point of the plot.

    Attributes:
        median: Seconds that half of the pictures take.
        asked: Who asks, and how.
        at_once: All pictures at the same time, one after another, or None where it makes no difference.
        measured: On real sockets, or else simulated.
        lag: Mean seconds from a picture's end until it is noticed, ``p95`` the 95th percentile where it is known.
        queries: Mean per picture.
    """

    median: float
    asked: str
    at_once: bool | None
    measured: bool
    lag: float
    p95: float | None
    queries: float


@dataclass
class Report:
    """All figures of one run, and under which conditions it ran.

    Attributes:
        broken: Why, by group, for those that broke off: figures of theirs are missing.
    """

    conditions: dict[str, Any]
    rows: list[Row] = field(default_factory=list)
    trades: list[Trade] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)

    def add(self, group: str, measured: Row | Trade) -> None:
        """Take up what a group measured."""
        if isinstance(measured, Trade):
            self.trades.append(measured)
        else:
            self.rows.append(replace(measured, group=group))

    def count(self, verdict: str) -> int:
        """How many figures ended so."""
        return sum(row.verdict == verdict for row in self.rows)

    @property
    def summary(self) -> str:
        """How many promises were kept, in one line."""
        promised = sum(row.target is not None for row in self.rows)
        line = f"{len(self.rows)} figures, {promised} with a target: {self.count(MET)} met, {self.count(MISSED)} MISSED"
        if unknown := self.count(NOT_MEASURED):
            line += f", {unknown} not measured"
        if self.broken:
            line += f"; {len(self.broken)} BROKE OFF: {', '.join(self.broken)}"
        return line

    def to_json(self) -> str:
        """As text that ``from_json`` reads. The verdicts are in it for those who read it without this program."""
        rows = [{**asdict(row), "verdict": row.verdict} for row in self.rows]
        trades = [asdict(trade) for trade in self.trades]
        whole: dict[str, Any] = {"conditions": self.conditions, "rows": rows, "trades": trades}
        if self.broken:
            whole["broken"] = self.broken
        return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Report:
        """What ``to_json`` gave."""
        whole = json.loads(text)
        rows = [Row(**{name: value for name, value in row.items() if name != "verdict"}) for row in whole["rows"]]
        trades = [Trade(**trade) for trade in whole["trades"]]
        return cls(whole["conditions"], rows, trades, whole.get("broken", {}))


def lines(report: Report, titles: dict[str, str]) -> Iterator[str]:
    """The table for a terminal: every figure, and after them the trades.

    Args:
        titles: Of the groups, by name.
    """
    cells = {id(row): (row.what, row.shown, row.compared_to, row.promised, row.verdict) for row in report.rows}
    heads = ("", "found", "compared to", "target", "")
    widths = [max(len(cell) for cell in column) for column in zip(heads, *cells.values(), strict=True)]

    def line(texts: tuple[str, ...]) -> str:
        what, found, compared_to, target, verdict = texts
        return (
            f"  {what:{widths[0]}}  {found:>{widths[1]}}  {compared_to:{widths[2]}}  {target:>{widths[3]}}  {verdict}"
        ).rstrip()

    yield line(heads)
    for group in dict.fromkeys([*(row.group for row in report.rows), *report.broken]):
        yield f"\n{titles.get(group, group)}"
        yield from (line(cells[id(row)]) for row in report.rows if row.group == group)
        if group in report.broken:
            yield f"  BROKE OFF: {report.broken[group]}"
    if report.trades:
        yield f"\nLag against queries\n  {'':46} {'mean lag':>9} {'p95 lag':>9} {'queries':>8}"
        for trade in beside(report.trades):
            p95 = "" if trade.p95 is None else f"{trade.p95:.2f} s"
            yield f"  {described(trade):46} {trade.lag:7.2f} s {p95:>9} {trade.queries:8.2f}"
    yield f"\n{report.summary}"


def beside(trades: Iterable[Trade]) -> list[Trade]:
    """All of them by median, but of each bound's curve only the point that needs about as many queries as ours."""
    ordered = sorted(trades, key=lambda trade: (trade.measured, trade.median))
    ours = {trade.median: trade.queries for trade in ordered if trade.asked == POLLING}
    rows = []
    for trade in ordered:
        if trade.asked == BOUND:
            curve = [item for item in ordered if item.asked == BOUND and item.median == trade.median]
            if trade is not min(curve, key=lambda item: abs(item.queries - ours.get(item.median, 0))):
                continue
        rows.append(trade)
    return rows


def described(trade: Trade) -> str:
    """Which trade it is."""
    how = {None: "", True: ", at once", False: ", one by one"}[trade.at_once]
    where = "measured" if trade.measured else "simulated"
    return f"{trade.median:g} s {where}: {trade.asked}{how}"


def _with_unit(number: str, unit: str) -> str:
    return f"{number} {unit}".rstrip()
