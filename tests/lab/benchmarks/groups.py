"""All groups of figures, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.lab.benchmarks import (
    cold_start,
    crowds,
    detection,
    growth,
    images,
    load,
    memory,
    never,
    per_call,
    replicas,
    sizes,
    webhook,
)
from tests.lab.benchmarks.figures import Row, Trade


@dataclass(frozen=True)
class Group:
    """Figures that are measured together.

    Attributes:
        how: How they are measured, for readers of the page; line ends mean nothing.
        rows: Measures them; its argument says whether few rounds will do.
    """

    name: str
    title: str
    how: str
    rows: Callable[[bool], Iterable[Row | Trade]]


GROUPS = {
    group.name: group
    for group in (
        Group(
            "cold-start",
            "Cold start over stdio",
            """A process is spawned, sent `initialize` and `tools/list` (or a first `tools/call`), and timed until the
            answer arrives. The installed console script, a bare server of the SDK with one echo tool, the same tool on
            FastMCP (in an environment of its own, the SDK and its dependencies in the same versions) and two servers
            of npm on Node are started in turn; a figure is the median of the ratios of the rounds.""",
            cold_start.rows,
        ),
        Group(
            "per-call",
            "A call",
            """Calls of our server, of the bare echo server and bare httpx requests to the sandbox API are made in
            turn, each program in a process of its own; a figure is the ratio of medians. An open task costs a
            query to the API at each look, so the yardstick is an echo and a GET; a submit is an echo and a
            POST, and writes the ledger twice. The calls a second are of four clients at once.""",
            per_call.rows,
        ),
        Group(
            "memory",
            "Memory until the first call",
            """Resident memory of the process once it has listed its tools, median of three starts.""",
            memory.rows,
        ),
        Group(
            "sizes",
            "Bytes",
            """`tools/list` as it was sent; a typical result of each tool from the sandbox; the pages as files.""",
            sizes.rows,
        ),
        Group(
            "detection",
            "When a finished image is noticed, simulated",
            """5,000 images with lognormal latencies (sigma 0.5) on a virtual clock; a query's round trip takes
            0.25 s. The optimum is exact for a known distribution, by dynamic programming over all schedules.
            One by one, the images are waited for one after another. A hundred at once are submitted together to a
            fresh server, whose own waiter and callback tracker run on the virtual clock.""",
            detection.rows,
        ),
        Group(
            "webhook",
            "When a finished picture is noticed: real sockets",
            """A fresh `serve --http` process, the sandbox API and a client on loopback; lognormal latencies (sigma
            0.4) with a median of 3 s. The fixed intervals are those of a bare httpx client on the same
            pictures.""",
            webhook.rows,
        ),
        Group(
            "load",
            "Waits at once, over HTTP",
            """`wait_for_image` calls of as many real clients at once, in one server process, with the sandbox and
            the clients in processes of their own. Three thousand clients of the SDK would need more than one
            processor, so those are plain HTTP clients. A round of the event loop is the processor time that the
            server's main thread takes while a request for `/healthz` waits.""",
            load.rows,
        ),
        Group(
            "crowds",
            "Crowds and kills",
            """Real processes throughout. Forged, malformed and replayed callbacks come over four connections;
            kills and disconnects are the short form of `make crash`.""",
            crowds.rows,
        ),
        Group(
            "never",
            "What must never happen",
            """The corpora of the tests, each case against the real thing, and the faults and odd requests of a short
            `make torture`; counted is what went wrong. `make torture` and `make interop` try more: see
            [torture.md](torture.md) and [interop.md](interop.md).""",
            never.rows,
        ),
        Group(
            "replicas",
            "Three replicas on one PostgreSQL",
            """Three server processes; all callbacks reach the second. Sixty submits and waits at once, in turn at the
            second alone and spread over all three: the processor time is that of the servers that take part. One is
            killed in the middle of submits and waits.""",
            replicas.rows,
        ),
        Group(
            "growth",
            "Growth: a ledger of a million requests",
            """Ledgers of 100, 10,000 and 1,000,000 finished requests over a year, with English and Korean prompts, in a
            SQLite file and in PostgreSQL, as after an upgrade: the indexes are built first, and how long that takes
            in the background is shown. A text of one or two letters is searched for in the newest 20,000 requests. A
            figure is the median of five calls of the ledger in one process.""",
            growth.rows,
        ),
        Group(
            "pictures",
            "Pictures",
            """A PNG of some 16 MB through a stdio server with its cache off, several times; the picture's view in
            headless Chromium, in a host page under the strict default policy. A photo of 4000 x 3000 pixels is uploaded
            to a stdio server: by its page on this machine, and in pieces by the view in a conversation. Times are
            medians.""",
            images.rows,
        ),
    )
}
