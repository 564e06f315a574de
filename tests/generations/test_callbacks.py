from nano_banana_mcp.generations.callbacks import MISSED_IN_A_ROW, Callbacks


def where(intent_id: str) -> str:
    return f"https://e.org/{intent_id}"


async def test_callbacks_are_not_relied_on_before_the_first_has_come() -> None:
    callbacks = Callbacks(where)
    assert callbacks.address("in-1") == "https://e.org/in-1"
    assert not callbacks.expected("in-1")
    callbacks.came("in-1")
    callbacks.address("in-2")
    assert callbacks.expected("in-2")


async def test_where_nobody_listens_none_is_asked_for() -> None:
    callbacks = Callbacks(None)
    assert callbacks.address("in-1") is None
    assert not callbacks.expected("in-1")


async def test_ends_that_no_callback_told_let_polling_take_over_until_one_comes_again() -> None:
    callbacks = Callbacks(where)
    callbacks.came("in-0")
    for number in range(MISSED_IN_A_ROW):
        callbacks.address(f"in-{number}")
        assert callbacks.expected(f"in-{number}")
        callbacks.ended(f"in-{number}")
    callbacks.address("in-late")
    assert not callbacks.expected("in-late")
    callbacks.came("in-late")
    callbacks.address("in-new")
    assert callbacks.expected("in-new")


async def test_many_callbacks_for_one_intent_lead_to_one_question() -> None:
    callbacks = Callbacks(where)
    assert [callbacks.came("in-1") for _ in range(5)] == [True, False, False, False, False]
    assert callbacks.came("in-2")
