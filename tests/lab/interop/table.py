"""The table of docs/interop.md: its rows, how they are judged, and the document that is made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.lab.interop.catalog import CLIENTS, Entry
from tests.lab.interop.walk import SHOWS, Seen

COLUMNS = ("client", "version", "over", "protocol", "tools", "starts at", "calls", *SHOWS)
YES, NO, CANNOT, NOT_RUN = "yes", "**no**", "–", "**not run**"

HEAD = """# Clients and hosts

Made by `make interop` on {date}; do not edit it. It starts the real server as a child process on its built-in
sandbox, over stdio and over HTTP, and has each client list its tools, call every one of them, and do whatever else
it can. What is installed for it (`.interop/`, `.node/`) has the versions of `tests/lab/interop/pins.toml`. It fails
when the result differs from this table or a client cannot be installed.

*tools*: how many of the server's {tools} it lists. *starts at*: the request at which the real server is imported over
stdio; everything before it was answered at once from the manifest. *calls*: how many of them did what they should.
*structured*: the structured answer reached the program or the model. *link*: the `resource_link` of the picture did.
*read*: the link, and the picture's `resource_uri`, could be read through the server. *picture*: `view_image` handed
over a picture, not text. *progress*: reports came during a wait. *error*: a wrong task was told as an error.
*failure*: so was a picture that failed.
*resources*, *prompts*, *completion*: listed, filled in, offered. *updates*: news of a resource that was subscribed to.
“–” is what a client has no way to show; why is said below. A *background task* is one of MCP Tasks. Claude Code runs
without an account, with a scripted model on this machine.
"""


@dataclass
class Row:
    """What came of one client over one transport."""

    entry: Entry
    transport: str
    seen: Seen | None = None
    problems: list[str] = field(default_factory=list)

    def cells(self) -> list[str]:
        """One for each of :data:`COLUMNS`."""
        if self.seen is None:
            return [self.entry.name, NOT_RUN, self.transport, self.entry.mode, *[""] * (len(COLUMNS) - 4)]
        seen = self.seen
        good = sum(remarks == "ok" for remarks in seen.calls.values())
        shows = [YES if what in seen.shows else CANNOT if what in self.entry.without else NO for what in SHOWS]
        starts_at = ", ".join(f"`{method}`" for method in seen.handover) or CANNOT
        counts = [str(len(seen.tools)), starts_at, f"{good} of {len(seen.calls)}"]
        return [self.entry.name, seen.version, self.transport, seen.protocol, *counts, *shows]


def judge(row: Row) -> None:
    """Write down into ``row.problems`` what is not as it should be."""
    seen = row.seen
    if seen is None:
        row.problems.append("it was not run")
        return
    if set(seen.tools) != row.entry.tools:
        row.problems.append(f"it lists {seen.tools}")
    row.problems += [f"{tool}: {remarks}" for tool, remarks in seen.calls.items() if remarks != "ok"]
    for what in SHOWS:
        if what in seen.shows and what in row.entry.without:
            row.problems.append(f"{what}: it is said to have none, and has")
        elif what not in seen.shows and what not in row.entry.without:
            row.problems.append(f"{what}: {seen.trouble.get(what, 'its program does not try it')}")
    if portable := seen.extra.get("strict"):
        row.problems.append(f"schemas that are not portable: {portable}")


def document(table: Iterable[list[str]], others: Iterable[tuple[str, str]], date: str, tools: int) -> str:
    """The whole of docs/interop.md.

    Args:
        table: The cells of each row.
        others: What is run besides clients → what came of it.
    """
    lines = [HEAD.format(date=date, tools=tools)]
    lines += [_line(COLUMNS), _line("---" for _ in COLUMNS), *(_line(cells) for cells in table)]
    lines += ["", "Besides:", "", "| what | result |", "|---|---|", *(f"| {what} | {came} |" for what, came in others)]
    lines += ["", "## What to know about each", ""]
    for name in dict.fromkeys(entry.name for entry in CLIENTS):
        entries = [entry for entry in CLIENTS if entry.name == name]
        said = [note for entry in entries for note in entry.notes]
        reasons: dict[str, list[str]] = {}
        for what, why in entries[0].without.items():
            reasons.setdefault(why, []).append(what)
        said += [f"No {', '.join(what)}: {why}." for why, what in reasons.items()]
        if said:
            lines += [f"**{name}**", "", *(f"- {item}" for item in said), ""]
    return "\n".join(lines).rstrip() + "\n"


def parsed(text: str) -> tuple[list[list[str]], list[tuple[str, str]], str, int]:
    """The arguments of :func:`document` that gave this document."""
    first, _, second = text.partition("\nBesides:\n")
    rows = [line[2:-2].split(" | ") for line in first.splitlines() if line.startswith("| ")][2:]
    besides = re.findall(r"^\| (.*) \| (.*) \|$", second, re.MULTILINE)[1:]
    date = re.search(r"on (\d{4}-\d\d-\d\d);", text)
    tools = re.search(r"how many of the server's (\d+) it lists", text)
    assert date
    assert tools
    return rows, besides, date[1], int(tools[1])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
