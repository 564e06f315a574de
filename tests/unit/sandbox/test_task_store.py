import re
import uuid

import pytest

from nano_banana_sandbox.faults import Directives, parse
from nano_banana_sandbox.tasks import Order, Task, TaskStore


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> TaskStore:
    return TaskStore(clock, wall=lambda: 0.0)


def create(store: TaskStore, prompt: str = "a hill") -> Task:
    words, directives = parse(prompt, Directives(seconds=100))
    return store.create(Order(prompt, words, directives, request={}), "http://sandbox")


def test_a_task_moves_through_the_states_in_order(store: TaskStore, clock: Clock) -> None:
    task = create(store)
    seen = []
    for clock.now in (1000, 1009, 1010, 1024, 1025, 1099.9, 1100, 5000):
        seen.append(task.status)
    assert seen == [*["pending"] * 2, *["submitted"] * 2, *["in_progress"] * 2, *["success"] * 2]


def test_a_failing_task_works_first_and_gives_its_price_back(store: TaskStore, clock: Clock) -> None:
    task = create(store, "sandbox:result=failed")
    assert (task.status, store.cost) == ("pending", 0.5)
    clock.now += 100
    assert (task.status, store.cost) == ("failed", 0.0)


def test_an_unknown_status_word_is_shown_only_while_working(store: TaskStore, clock: Clock) -> None:
    task = create(store, "sandbox:status=queued_for_gpu")
    assert task.status == "queued_for_gpu"
    clock.now += 100
    assert task.status == "success"


def test_a_task_of_zero_seconds_is_finished_at_once(store: TaskStore) -> None:
    assert create(store, "sandbox:seconds=0").status == "success"


def test_the_grace_hides_a_fresh_task(store: TaskStore, clock: Clock) -> None:
    task = create(store, "sandbox:grace=3")
    assert not task.is_visible
    clock.now += 3
    assert task.is_visible


def test_ids_take_turns_between_the_two_documented_shapes(store: TaskStore) -> None:
    long, short = create(store).id, create(store).id
    uuid.UUID(long.removeprefix("ta"))
    assert len(long) == 38
    assert re.fullmatch(r"ta[0-9a-f]{6}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", short)


@pytest.mark.parametrize(("shape", "length"), [("ta", 38), ("uuid", 36)])
def test_a_directive_forces_the_shape_of_the_id(store: TaskStore, shape: str, length: int) -> None:
    assert {len(create(store, f"sandbox:id={shape}").id) for _ in range(3)} == {length}


def test_tasks_keep_their_order_and_are_found_by_id(store: TaskStore) -> None:
    tasks = [create(store, f"hill {n}") for n in range(3)]
    assert list(store) == tasks
    assert store.find(tasks[1].id) is tasks[1]
    assert store.find("ta-none") is None
    assert tasks[0].created_at == "1970-01-01T00:00:00+00:00"
