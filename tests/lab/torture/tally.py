"""Counts of cases and their results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_NOTES = 20
MAX_NOTE_CHARACTERS = 2_000


@dataclass
class Tally:
    """The counts of one part.

    Attributes:
        tried: Cases.
        survived: Cases after which the server ran on and had answered correctly.
        lost: Images that were charged, or may have been, and that the ledger does not account for.
        double: Submits sent again although the first may have arrived.
        crashes: Cases after which the process had ended, hung, or logged an unexpected error.
        wrong: Cases with a wrong answer.
        failures: Messages about failed cases.
        figures: Other measurements.
    """

    name: str
    tried: int = 0
    survived: int = 0
    lost: int = 0
    double: int = 0
    crashes: int = 0
    wrong: int = 0
    failures: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def broken(self) -> bool:
        """Whether any case failed."""
        return bool(self.lost or self.double or self.crashes or self.wrong) or self.survived != self.tried

    def passed(self, count: int = 1) -> None:
        """Count ``count`` cases as survived."""
        self.tried += count
        self.survived += count

    def failed(self, why: str, kind: str = "crashes") -> None:
        """Count one case as failed.

        Args:
            kind: The counter: lost, double, crashes or wrong.
        """
        self.tried += 1
        setattr(self, kind, getattr(self, kind) + 1)
        self.note(why)

    def note(self, why: str) -> None:
        """Add a message, up to ``MAX_NOTES`` of them."""
        if len(self.failures) < MAX_NOTES:
            is_short = len(why) <= MAX_NOTE_CHARACTERS
            self.failures.append(why if is_short else f"{why[:MAX_NOTE_CHARACTERS]}… ({len(why)} characters)")

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, values: dict[str, Any]) -> Tally:
        """Read back what :meth:`as_dict` returned."""
        return cls(**values)


COLUMNS = ("tried", "survived", "lost", "double", "crashes", "wrong")


def rows(tallies: Iterable[Tally]) -> list[list[str]]:
    """Return the cells of the table, with a last row of sums."""
    parts = list(tallies)
    table = [[part.name, *(f"{getattr(part, name):,}" for name in COLUMNS), f"{part.seconds:.0f}"] for part in parts]
    sums = [f"{sum(getattr(part, name) for part in parts):,}" for name in COLUMNS]
    return [*table, ["together", *sums, f"{sum(part.seconds for part in parts):.0f}"]]


HEAD = ["part", *COLUMNS, "seconds"]
