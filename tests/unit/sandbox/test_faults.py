import pytest

from nano_banana_sandbox.config import SandboxConfig
from nano_banana_sandbox.faults import VOCABULARY, DirectiveError, Directives, Fault, parse, table

NONE = Directives()


def test_a_prompt_without_directives_is_left_alone() -> None:
    assert parse("a cat  on a roof", NONE) == ("a cat on a roof", NONE)


def test_directives_may_stand_anywhere_and_leave_the_words() -> None:
    words, directives = parse("sandbox:seconds=0.5 a cat sandbox:submit=503*2\non a roof sandbox:id=uuid", NONE)
    assert words == "a cat on a roof"
    assert directives == Directives(seconds=0.5, submit=Fault("503", 2), id="uuid")


def test_a_prompt_overrides_the_defaults_and_keeps_the_others() -> None:
    defaults = SandboxConfig(seconds=1, directives="submit=hang grace=2").defaults
    _, directives = parse("sandbox:submit=ok", defaults)
    assert directives == Directives(seconds=1, grace=2, submit=Fault("ok"))


def test_the_last_of_two_equal_names_wins() -> None:
    assert parse("sandbox:seconds=1 sandbox:seconds=2", NONE)[1].seconds == 2


def test_a_reason_reads_underscores_as_spaces() -> None:
    assert parse("sandbox:reason=the_model_said_no", NONE)[1].reason == "the model said no"


@pytest.mark.parametrize(
    "word",
    [
        *("sandbox:", "sandbox:hang", "sandbox:submit", "sandbox:submit=", "sandbox:submit=503*", "sandbox:submit=418"),
        *("sandbox:submit=503*x", "sandbox:submit=503*-1", "sandbox:seconds=-1", "sandbox:seconds=nan"),
        *("sandbox:seconds=inf", "sandbox:seconds=soon", "sandbox:result=jpg", "sandbox:retry-after=1.5"),
        *("sandbox:retry_after=1", "sandbox:Submit=500", "sandbox:result=url*2", "sandbox:file=500", "sandbox:status="),
    ],
)
def test_an_unknown_directive_is_refused_and_the_known_ones_are_listed(word: str) -> None:
    with pytest.raises(DirectiveError) as caught:
        parse(f"a cat {word}", NONE)
    assert repr(word) in str(caught.value)
    assert all(f"{directive.name}=" in str(caught.value) for directive in VOCABULARY)


def test_a_config_with_an_unknown_directive_does_not_start() -> None:
    with pytest.raises(DirectiveError, match="sumbit"):
        SandboxConfig(directives="sumbit=500")


def test_every_word_of_the_table_is_understood() -> None:
    for line in table().splitlines()[2:]:
        word = line.split("`")[1].removeprefix("sandbox:")
        if not word.endswith(("=F", "=S", "=…")):
            parse(f"sandbox:{word}", NONE)


def test_a_counted_fault_strikes_only_the_first_requests() -> None:
    assert [Fault("500", 2).strikes(nth) for nth in (1, 2, 3)] == [True, True, False]
    assert Fault("500").strikes(1000)
    assert not Fault("ok").strikes(1)
