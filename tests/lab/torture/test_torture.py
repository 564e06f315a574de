"""The torture detects faults, and some of its cases find none in the server."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.lab.torture.__main__ import SIZES, main
from tests.lab.torture.fuzz_requests import bad_answer
from tests.lab.torture.processes import Gone, received
from tests.lab.torture.search import search
from tests.lab.torture.soak import Sample, steady_growth, window_medians
from tests.lab.torture.tally import Tally, rows

FUZZ = SIZES["fuzz"]
CALL = ("tools/call", {"name": "generate_image", "arguments": {}})


def fuzzed(part: str, results: Path) -> list[Tally]:
    """What a part of the smallest form comes to."""
    assert main(["--fuzz", "--only", part, "--results", str(results)]) == 0
    return [Tally.of(values) for values in json.loads(results.read_text())["parts"][part]["tallies"]]


def summed(tallies: list[Tally], figure: str) -> int:
    return sum(tally.figures.get(figure, 0) for tally in tallies)


def test_odd_requests_lose_nothing_and_crash_nothing(tmp_path: Path) -> None:
    tallies = fuzzed("requests", tmp_path / "results.json")
    assert sum(tally.survived for tally in tallies) == FUZZ["requests"]
    assert summed(tallies, "answers compared") >= 8  # those that are there from the start


def test_odd_requests_of_tasks_lose_nothing_and_crash_nothing(tmp_path: Path) -> None:
    tallies = fuzzed("tasks", tmp_path / "results.json")
    assert sum(tally.survived for tally in tallies) == FUZZ["tasks"]
    assert summed(tallies, "tasks") >= 10  # those that are there from the start


def test_no_odd_answer_to_a_confirmation_submits_more_than_was_approved(tmp_path: Path) -> None:
    tallies = fuzzed("confirmations", tmp_path / "results.json")
    assert sum(tally.survived for tally in tallies) == FUZZ["confirmations"]
    assert summed(tallies, "approved") > 0


def test_odd_bytes_and_uploads_lose_nothing_and_crash_nothing(tmp_path: Path) -> None:
    tallies = fuzzed("bytes", tmp_path / "results.json")
    assert sum(tally.survived for tally in tallies) >= sum(FUZZ[kind] for kind in ("stdin", "port", "uploads"))
    assert summed(tallies, "charged") > 0  # some requests pass the checks of arguments


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"error": {"code": -32603, "message": "Internal error"}},
        {"error": {"code": 0, "message": "'NoneType' object has no attribute 'x'"}},
        {"error": {"code": "x", "message": "x"}},
        {"result": {"isError": True, "content": []}},
        {"result": {"isError": True, "content": [{"type": "text", "text": "Error executing tool generate_image"}]}},
        {"result": {"isError": True, "content": [{"type": "text", "text": "It did not work."}]}},
        {"result": {"content": [{"type": "text", "text": "x" * 50_000}]}},
    ],
    ids=str,
)
def test_a_bad_answer_is_detected(answer: dict[str, Any]) -> None:
    assert bad_answer(CALL, answer) is not None


def test_a_good_answer_is_not_taken_for_a_bad_one() -> None:
    said = "prompt: field required. Nothing was sent, so nothing was charged."
    assert bad_answer(CALL, {"result": {"isError": True, "content": [{"type": "text", "text": said}]}}) is None


@pytest.mark.parametrize(("ends", "data"), [("closes", b"HTTP/1.1 2"), ("resets", b""), ("is silent", None)])
def test_a_server_that_stops_answering_is_detected(ends: str, data: bytes | None) -> None:
    ours, theirs = socket.create_server(("127.0.0.1", 0)), socket.socket()
    with ours, theirs:
        theirs.settimeout(60 if data is not None else 0.1)
        theirs.connect(ours.getsockname())
        connection, _ = ours.accept()
        with connection:
            if ends == "resets":
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                connection.sendall(b"HTTP/1.1 2")
            if data is None:
                with pytest.raises(Gone, match="neither more nor an end"):
                    received(theirs)
                return
        assert received(theirs) == data


@pytest.mark.parametrize(
    ("megabytes", "grows"),
    [
        ([100, 102, 104, 106, 108, 110], True),
        ([100, 103, 102, 105, 108, 110], True),
        ([100, 100.5, 101, 101.5, 102, 102.5], False),
        ([100, 130, 100, 100, 101, 100], False),
        ([100, 100, 100, 100, 110, 110], False),
        ([110, 108, 106, 104, 102, 100], False),
    ],
)
def test_only_memory_that_grows_from_window_to_window_counts_as_growing(megabytes: list[float], grows: bool) -> None:
    assert (steady_growth(megabytes) > 0) is grows


def test_a_window_of_the_soak_counts_with_its_median() -> None:
    samples = [Sample(float(number), 9_000 if number % 10 == 5 else number // 10, 1, 1) for number in range(60)]
    assert window_medians(samples) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("kind", "count"), [("lost", 1), ("double", 1), ("wrong", 1), ("crashes", 0)])
def test_a_failure_of_a_search_is_counted_under_its_own_kind(kind: str, count: int) -> None:
    tally = Tally("a part")
    search(tally, st.just(0), 1, 1, lambda batch: f"{kind}: it is")
    assert getattr(tally, kind) >= count
    assert tally.lost + tally.double + tally.wrong + tally.crashes == getattr(tally, kind)


def test_a_list_of_cases_that_fails_is_shrunk_to_the_case_that_fails() -> None:
    tally = Tally("a part")

    def check(batch: list[int]) -> str | None:
        return "it hates thirteens" if any(case >= 13 for case in batch) else None

    search(tally, st.integers(0, 100), 200, 1, check)
    assert tally.crashes >= 1
    assert tally.broken
    assert tally.failures[0].endswith("it hates thirteens: [13]")


def test_every_case_of_a_search_that_finds_nothing_is_counted() -> None:
    tally = Tally("a part")
    search(tally, st.integers(), 500, 1, lambda batch: None)
    assert tally.tried == tally.survived == 500
    assert not tally.broken
    assert rows([tally, tally])[-1][:2] == ["together", "1,000"]
