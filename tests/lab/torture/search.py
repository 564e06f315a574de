"""Hypothesis as the searcher: lists of cases go through a check, and one that fails is shrunk to what fails in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.lab.torture.tally import Tally

AT_ONCE = 24
"""Most cases that are sent before their answers are read."""

MAX_LISTS = 100
"""Lists of one round of a search; each round begins with a new seed."""

MEAN_CASES = 6
"""Cases in a list that Hypothesis draws, on average: a round draws no more lists than the rest of the search takes."""

MAX_FAILURES = 5
"""Failures after which the part ends: each is shrunk, which takes time."""

Case = TypeVar("Case")
Check = Callable[[list[Any]], str | None]
"""Tries a list of cases. Returns what went wrong; "lost: ", "double: " or "wrong: " in front says what it counts as."""


class Failed(Exception):
    """A list of cases did what it must not."""


def search(tally: Tally, cases: SearchStrategy[Any], count: int, seed: int, check: Check) -> None:
    """Try ``count`` cases, and write down what they led to."""
    number, failures = seed, 0
    wanted = tally.tried + count
    while tally.tried < wanted and failures < MAX_FAILURES:
        failed: list[tuple[int, str]] = []

        @seeded(number)
        @settings(
            max_examples=min(MAX_LISTS, 1 + (wanted - tally.tried) // MEAN_CASES),
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        @given(st.lists(cases, min_size=1, max_size=AT_ONCE))
        def run(batch: list[Any]) -> None:
            batch = batch[: max(1, wanted - tally.tried)]
            if tally.tried >= wanted and not failed:  # noqa: B023 - called within the same round - of this very round
                return
            why = check(batch)
            if why is not None:
                failed.append((len(repr(batch)), f"seed {number}: {why[:1_500]}: {batch!r}"))  # noqa: B023 - called within the same round
                raise Failed(why)
            if not failed:  # noqa: B023 - called within the same round
                tally.passed(len(batch))

        try:
            run()
        except Exception as error:  # noqa: BLE001 - every end of a search is reported, Hypothesis's own errors too
            failures += 1
            why = min(failed)[1] if failed else f"seed {number}: {error!r}"
            kinds = (kind for kind in ("lost", "double", "wrong") if f"seed {number}: {kind}: " in why)
            tally.failed(why, next(kinds, "crashes"))
            print(f"{tally.name}: {tally.failures[-1]}", file=sys.stderr, flush=True)  # the rest may take long
        number += 1
