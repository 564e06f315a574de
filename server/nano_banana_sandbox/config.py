"""The configuration of a sandbox."""

from dataclasses import dataclass, field
from typing import Literal

from nano_banana_sandbox.faults import Directives, apply

Art = Literal["scenery", "plain"]
"""A landscape with a caption, or one flat colour: cheap to draw, for tests."""


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """How a sandbox behaves.

    Args:
        seconds: Duration of a task.
        directives: Defaults for every task (`"grace=2 submit=503*1"`); a prompt overrides them.
        credit: The balance, answered in the type given here. Each task costs 0.5; below that a submit answers 402.
        drip_interval: Seconds between two bytes of a `drip` answer.
        late_seconds: Delay of `callback=late` after the end of the task.
        art: What is drawn.

    Raises:
        DirectiveError: `directives` contains a word that the sandbox does not know.
    """

    seconds: float = 6.0
    directives: str = ""
    credit: str | float = "1000.000000"
    drip_interval: float = 1.0
    late_seconds: float = 3.0
    art: Art = "scenery"
    defaults: Directives = field(init=False, repr=False)

    def __post_init__(self) -> None:
        float(self.credit)
        directives = apply(self.directives.split(), Directives(seconds=self.seconds))
        object.__setattr__(self, "defaults", directives)
