"""What a sandbox is started with."""

from dataclasses import dataclass, field

from nano_banana_sandbox.faults import Directives, apply


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """`directives` are defaults for every task (`"grace=2 submit=503*1"`); a prompt overrides them.

    Raises:
        DirectiveError: `directives` holds a word that the sandbox does not know.
    """

    seconds: float = 6.0
    directives: str = ""
    # The balance, answered in the type given here. Each task costs 0.5; without that much a submit answers 402.
    credit: str | float = "1000.000000"
    drip_interval: float = 1.0  # seconds a byte
    late_seconds: float = 3.0  # how late is callback=late
    defaults: Directives = field(init=False, repr=False)

    def __post_init__(self) -> None:
        float(self.credit)
        directives = apply(self.directives.split(), Directives(seconds=self.seconds))
        object.__setattr__(self, "defaults", directives)
