"""What was tried, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

MAX_TOLD = 20
MAX_TOLD = 2_000


@dataclass
class Tally:
    """The counts of one part.

    Attributes:
        tried: Cases.
        survived: Cases after which the server lived, answered as it must, and went on.
        lost: Pictures that were charged, or may have been, and that nothing accounts for.
        double: Submits that were sent again although the first may have arrived.
        crashes: Cases after which the process was gone, hung, or told of an error that nobody foresaw.
        wrong: Cases with another wrong answer: an error in no words, a state that a lie has changed.
        failures: What went wrong, case by case.
        figures: Whatever else was measured.
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
        """Whether there is anything that must not be."""
        return bool(self.lost or self.double or self.crashes or self.wrong) or self.survived != self.tried

    def passed(self, count: int = 1) -> None:
        """So many cases went as they must."""
        self.tried += count
        self.survived += count

    def failed(self, why: str, kind: str = "crashes") -> None:
        """One case did not."""
        self.tried += 1
        setattr(self, kind, getattr(self, kind) + 1)
        self.note(why)

    def note(self, why: str) -> None:
        """Keep the words, if there are not too many by now."""
        if len(self.failures) < MAX_TOLD:
            self.failures.append(why if len(why) <= MAX_TOLD else f"{why[:MAX_TOLD]}… ({len(why)} characters)")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def of(cls, kept: dict[str, Any]) -> Tally:
        """Back from JSON."""
        return cls(**kept)


COLUMNS = ("tried", "survived", "lost", "double", "crashes", "wrong")


def rows(tallies: Iterable[Tally]) -> list[list[str]]:
    """The table with a line of sums, as text."""
    known = list(tallies)
    table = [[each.name, *(f"{getattr(each, name):,}" for name in COLUMNS), f"{each.seconds:.0f}"] for each in known]
    sums = [f"{sum(getattr(each, name) for each in known):,}" for name in COLUMNS]
    return [*table, ["together", *sums, f"{sum(each.seconds for each in known):.0f}"]]


HEAD = ["part", *COLUMNS, "seconds"]
