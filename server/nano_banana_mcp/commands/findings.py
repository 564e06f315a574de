"""What a check found, as a line of a report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

SUBJECT_WIDTH = 13


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report."""

    is_good: bool
    subject: str
    text: str
    advice: str | None = None

    def __str__(self) -> str:
        line = f"{'ok  ' if self.is_good else 'FAIL'}  {self.subject:<{SUBJECT_WIDTH}} {self.text}\n"
        return f"{line}{'':{SUBJECT_WIDTH + 7}}{self.advice}\n" if self.advice else line

    def as_dict(self) -> dict[str, Any]:
        """The finding as JSON has it."""
        values = asdict(self)
        return {"ok": values.pop("is_good"), **values}
