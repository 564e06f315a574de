"""Lag against queries, drawn as SVG: one panel for each median, all with the same logarithmic axes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from tests.lab.benchmarks.figures import BOUND, Row, Trade

WIDTH, PANEL, GAP, TOP, LEFT = 880, 300, 96, 96, 78
COLUMNS = 2
LEGEND_LINE = 24


@dataclass(frozen=True)
class Series:
    """How the trades whose ``asked`` starts so are drawn."""

    asked: str
    name: str
    words: str
    shape: str


SERIES = (
    Series("polling", "polling", "ours, polling", "circle"),
    Series("webhook", "webhook", "ours, webhook", "triangle"),
    Series("10 % lost", "some", "ours, webhook, 10 % of callbacks lost", "diamond"),
    Series("all lost", "none", "ours, webhook, all callbacks lost", "cross"),
    Series("fixed", "fixed", "a fixed interval of 2, 5, 10 s", "square"),
)

_STYLE = """
  .paper { fill: #ffffff } .panel { fill: #f6f8fa; stroke: #d0d7de } .grid { stroke: #d8dee4 }
  text { font: 13px system-ui, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
  .title { font-size: 17px; font-weight: 600 } .head { font-weight: 600 } .small { font-size: 12px; fill: #57606a }
  .middle { text-anchor: middle } .end { text-anchor: end }
  .bound { fill: none; stroke: #57606a; stroke-width: 2; stroke-dasharray: 6 4 } .beyond { fill: #57606a; opacity: .1 }
  .fixed { color: #6e4fa3 } .polling { color: #0a66c2 } .webhook { color: #0b7a4b } .some { color: #b35900 }
  .none { color: #c2185b } .line { fill: none; stroke: currentColor; stroke-width: 1.5 }
  .mark { fill: currentColor; stroke: currentColor; stroke-width: 2 } .hollow { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 } .panel { fill: #161b22; stroke: #30363d } .grid { stroke: #2a3038 }
    text { fill: #e6edf3 } .small { fill: #9da7b3 } .bound { stroke: #9da7b3 } .beyond { fill: #9da7b3 }
    .fixed { color: #b79cf0 } .polling { color: #58a6ff } .webhook { color: #3fd68b } .some { color: #ffa94d }
    .none { color: #ff7eb0 } .hollow { fill: #0d1117 }
  }
""".strip("\n")


@dataclass(frozen=True)
class Axes:
    """A panel's place, and the ranges that all panels share."""

    x: float
    y: float
    queries: tuple[float, float]
    lags: tuple[float, float]

    def at(self, queries: float, lag: float) -> tuple[float, float]:
        """Where a trade lies."""
        across = _share(queries, self.queries)
        return round(self.x + across * PANEL, 1), round(self.y + (1 - _share(lag, self.lags)) * PANEL, 1)


def plot(trades: Sequence[Trade]) -> str:
    """The whole drawing."""
    medians = sorted({(trade.measured, trade.median) for trade in trades})
    queries = _range([trade.queries for trade in trades if trade.asked != BOUND])
    lags = _range([trade.lag for trade in trades if trade.asked != BOUND])
    places = [
        Axes(LEFT + number % COLUMNS * (PANEL + GAP), TOP + number // COLUMNS * (PANEL + GAP), queries, lags)
        for number in range(len(medians))
    ]
    below = places[-1].y + PANEL + 72
    height = below + LEGEND_LINE * 4
    parts = _head(
        height,
        "Lag against queries",
        "How soon the end of a picture is noticed, and how many queries that takes: fixed intervals, ours "
        "by polling and by webhook, and the bound that no schedule of polling can pass.",
        "How soon a finished picture is noticed, and for how many queries",
        "Lower and further left is better. Both axes are logarithmic.",
    )
    for axes, (measured, median) in zip(places, medians, strict=True):
        own = [trade for trade in trades if (trade.measured, trade.median) == (measured, median)]
        how = "measured on real sockets" if measured else "simulated"
        parts += _panel(axes, f"pictures that take {median:g} s ({how})", own)
    parts += _legend(below)
    return "\n".join(parts) + "\n</svg>\n"


def _head(height: float, title: str, description: str, heading: str, remark: str) -> list[str]:
    """The beginning of a plot: what it is for readers and screen readers, its background and its headings."""
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img" aria-labelledby="t d">',
        f'<title id="t">{title}</title>',
        f'<desc id="d">{description}</desc>',
        f"<style>\n{_STYLE}\n</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height:g}"/>',
        _text(LEFT, 32, heading, "title"),
        _text(LEFT, 54, remark, "small"),
    ]


def growth(rows: Sequence[Row]) -> str:
    """Time against the size of the ledger: one panel for each database, a line for each thing that is asked for."""
    growth = [
        (match[1], float(match[2].replace(",", "")), match[3], max(row.found, 0.01))
        for row in rows
        if row.found is not None and row.unit == "ms" and (match := _GROWTH.fullmatch(row.what))
    ]
    names = list(dict.fromkeys(what for what, *_ in growth))
    sizes, times = _range([size for _, size, _, _ in growth]), _range([*(time for *_, time in growth), 200.0])
    height = TOP + PANEL + 64 + LEGEND_LINE * ((len(names) + 1) // 2)
    parts = _head(
        height,
        "Time against the size of the ledger",
        "How many milliseconds each thing takes that people wait for, by the number of requests in the "
        "ledger, in SQLite and in PostgreSQL.",
        "How long an answer takes in a ledger that grows",
        "Both axes are logarithmic. The dashed line is the target of 200 ms.",
    )
    for number, where in enumerate(dict.fromkeys(where for _, _, where, _ in growth)):
        axes = Axes(LEFT + number * (PANEL + GAP), TOP, sizes, times)
        parts.append(f'<rect class="panel" x="{axes.x}" y="{axes.y}" width="{PANEL}" height="{PANEL}"/>')
        parts.append(_text(axes.x, axes.y - 10, where, "head"))
        for tick in sorted({size for _, size, _, _ in growth}):
            parts.append(_text(axes.at(tick, times[0])[0], axes.y + PANEL + 17, f"{tick:,.0f}", "small middle"))
        for tick in _ticks(times):
            parts.append(_text(axes.x - 7, axes.at(sizes[0], tick)[1] + 4, f"{tick:g} ms", "small end"))
        parts.append(f'<path class="bound" d="M{axes.x} {axes.at(sizes[0], 200.0)[1]}h{PANEL}"/>')
        for line, what in enumerate(names):
            points = sorted((size, time) for name, size, place, time in growth if (name, place) == (what, where))
            path = " ".join(f"{x},{y}" for x, y in (axes.at(*point) for point in points))
            parts.append(f'<g class="{_colour(line)}"><polyline class="line" points="{path}"{_dashes(line)}/></g>')
    for line, what in enumerate(names):
        x, y = LEFT + line % 2 * (PANEL + GAP), TOP + PANEL + 52 + line // 2 * LEGEND_LINE
        parts.append(f'<g class="{_colour(line)}"><path class="line" d="M{x} {y - 4}h28"{_dashes(line)}/></g>')
        parts.append(_text(x + 36, y, what, "small"))
    return "\n".join(parts) + "\n</svg>\n"


_GROWTH = re.compile(r"(.+): ([0-9,]+) requests, (\w+)")


def _colour(line: int) -> str:
    return SERIES[line % len(SERIES)].name


def _dashes(line: int) -> str:
    pattern = ("", "6 3", "2 3")[line // len(SERIES) % 3]
    return f' stroke-dasharray="{pattern}"' if pattern else ""


def _panel(axes: Axes, head: str, trades: Sequence[Trade]) -> Iterator[str]:
    yield f'<rect class="panel" x="{axes.x}" y="{axes.y}" width="{PANEL}" height="{PANEL}"/>'
    yield _text(axes.x, axes.y - 10, head, "head")
    for tick in _ticks(axes.queries):
        x, _ = axes.at(tick, axes.lags[0])
        yield f'<path class="grid" d="M{x} {axes.y}v{PANEL}"/>'
        yield _text(x, axes.y + PANEL + 17, f"{tick:g}", "small middle")
    for tick in _ticks(axes.lags):
        _, y = axes.at(axes.queries[0], tick)
        yield f'<path class="grid" d="M{axes.x} {y}h{PANEL}"/>'
        yield _text(axes.x - 7, y + 4, f"{tick:g} s", "small end")
    yield _text(axes.x + PANEL / 2, axes.y + PANEL + 36, "queries a picture", "small middle")
    turned = f"translate({axes.x - 50} {axes.y + PANEL / 2}) rotate(-90)"
    yield f'<text class="small middle" transform="{turned}">mean lag</text>'
    yield from _bound(axes, [trade for trade in trades if trade.asked == BOUND])
    for series in reversed(SERIES):
        own = [trade for trade in trades if trade.asked.startswith(series.asked)]
        yield f'<g class="{series.name}">'
        if series.shape == "square":
            line = " ".join(f"{x} {y}" for x, y in (axes.at(trade.queries, trade.lag) for trade in own))
            yield f'<polyline class="line" points="{line}"/>'
        for trade in own:
            yield from _trade(axes, series, trade)
        yield "</g>"
    yield from _labels(axes, trades)


def _labels(axes: Axes, trades: Sequence[Trade]) -> Iterator[str]:
    """The fixed intervals by name, each where no mark of another is."""
    marks = [axes.at(trade.queries, trade.lag) for trade in trades if trade.asked != BOUND]
    for trade in trades:
        if trade.asked.startswith("fixed"):
            own = axes.at(trade.queries, trade.lag)
            places = [(own[0] + across, own[1] + down) for across in (9, -32) for down in (-7, 17)]
            others = [mark for mark in marks if mark != own]

            def room(place: tuple[float, float], others: list[tuple[float, float]] = others) -> float:
                middle = place[0] + 11, place[1] - 4
                inside = axes.x < place[0] and place[0] + 22 < axes.x + PANEL
                return min(math.dist(middle, mark) for mark in others) if inside else 0.0

            place = next((place for place in places if room(place) > 22), max(places, key=room))
            yield _text(*place, trade.asked.removeprefix("fixed "), "small")


def _bound(axes: Axes, trades: Sequence[Trade]) -> Iterator[str]:
    """The curve, and the field below it; cut off where the panel ends."""
    inside = sorted((trade.queries, trade.lag) for trade in trades)
    points = [
        axes.at(queries, lag)
        for queries, lag in inside
        if axes.queries[0] <= queries <= axes.queries[1] and axes.lags[0] <= lag <= axes.lags[1]
    ]
    if not points:
        return
    line = " ".join(f"{x} {y}" for x, y in points)
    floor = axes.y + PANEL
    yield f'<polygon class="beyond" points="{line} {points[-1][0]} {floor} {points[0][0]} {floor}"/>'
    yield f'<polyline class="bound" points="{line}"/>'


def _trade(axes: Axes, series: Series, trade: Trade) -> Iterator[str]:
    x, y = axes.at(trade.queries, trade.lag)
    p95 = "" if trade.p95 is None else f", p95 {trade.p95:.2f} s"
    how = {None: "", True: ", at once", False: ", one by one"}[trade.at_once]
    says = f"{trade.asked}{how}: lag {trade.lag:.2f} s{p95}, {trade.queries:.2f} queries"
    hollow = trade.at_once is True or trade.asked.endswith("nothing known")
    yield f"<g>{_mark(x, y, series.shape, hollow)}<title>{escape(says)}</title></g>"


def _mark(x: float, y: float, shape: str, hollow: bool) -> str:
    name = "mark hollow" if hollow else "mark"
    match shape:
        case "circle":
            return f'<circle class="{name}" cx="{x}" cy="{y}" r="5"/>'
        case "square":
            return f'<rect class="{name}" x="{x - 4:g}" y="{y - 4:g}" width="8" height="8"/>'
        case "triangle":
            return f'<path class="{name}" d="M{x} {y - 6:g}l6 11h-12z"/>'
        case "diamond":
            return f'<path class="{name}" d="M{x} {y - 7:g}l6 7l-6 7l-6 -7z"/>'
        case _:
            return f'<path class="{name}" d="M{x - 2:g} {y - 6:g}h4v4h4v4h-4v4h-4v-4h-4v-4h4z"/>'


def _legend(top: float) -> Iterator[str]:
    for number, series in enumerate(SERIES):
        x, y = LEFT + number % 2 * 396, top + number // 2 * LEGEND_LINE
        yield f'<g class="{series.name}">{_mark(x + 6, y - 4, series.shape, False)}</g>'
        yield _text(x + 22, y, series.words)
    y = top + 2 * LEGEND_LINE
    yield f'<path class="bound" d="M{LEFT + 396} {y - 4}h18"/>'
    yield _text(LEFT + 396 + 22, y, "no schedule of polling can get below")
    y = top + 3 * LEGEND_LINE
    yield f'<g class="polling">{_mark(LEFT + 6, y - 4, "circle", True)}</g>'
    yield _text(LEFT + 22, y, "hollow: all pictures asked for at once, or of a model of which nothing is known yet")


def _text(x: float, y: float, words: str, name: str = "") -> str:
    named = f' class="{name}"' if name else ""
    return f'<text{named} x="{x:g}" y="{y:g}">{escape(words)}</text>'


def _share(value: float, of: tuple[float, float]) -> float:
    return math.log(value / of[0]) / math.log(of[1] / of[0])


def _range(values: Sequence[float]) -> tuple[float, float]:
    """A little more than they need."""
    return min(values) / 1.35, max(values) * 1.7


def _ticks(of: tuple[float, float]) -> list[float]:
    """1, 2 and 5 in each decade."""
    decades = range(math.floor(math.log10(of[0])), math.ceil(math.log10(of[1])) + 1)
    return [tick for decade in decades for step in (1, 2, 5) if of[0] <= (tick := step * 10.0**decade) <= of[1]]
