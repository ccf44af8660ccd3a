"""Orders of tasks: the bound and the search, against trying every order."""

from itertools import permutations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.solvers.scheduling import Task, Tasks, compiled, lower_bound, played, shortest
from optimizer.solvers.scheduling_kernel import play


def last_s(tasks: Tasks, order: Any) -> float:
    return float(played(tasks, order)[1].max(initial=0.0))


@st.composite
def scheduling(draw: Any, most: int = 5) -> tuple[list[Task], Tasks]:
    """Tasks between some of four links, with parents among those before them, and places of all and of some."""
    ranks = st.integers(0, draw(st.integers(0, 1)))
    room = draw(st.lists(st.integers(1, 3), min_size=3, max_size=3))
    tasks: list[Task] = []
    for number in range(draw(st.integers(0, most))):
        parents = sorted(draw(st.sets(st.integers(0, number - 1), max_size=2))) if number else []
        if draw(st.integers(0, 9)) == 0:
            tasks.append(Task(parents=parents, rank=draw(ranks)))
            continue
        source, target = draw(st.permutations(range(4)))[:2]
        tasks.append(Task(parents=parents, rank=draw(ranks), setup_s=draw(st.sampled_from([0.0, 1.5, 5.0])),
                          work_s=draw(st.sampled_from([0.0, 2.0, 7.3, 20.0])), tail_s=draw(st.sampled_from([0.0, 1.2])),
                          links=(source, target), queued=draw(st.booleans()),
                          places=[0, *draw(st.sets(st.integers(1, 2)))]))
    return tasks, compiled(tasks, room, draw(st.integers(1, 2)), draw(st.sampled_from([1.0, 1.5, 2.0])), draw(st.sampled_from([0.5, 2.0])))


@settings(max_examples=150, deadline=None)
@given(scheduling())
def test_no_order_is_below_the_bound_and_the_search_is_no_worse_than_what_it_was_given(case: tuple[list[Task], Tasks]) -> None:
    tasks, compiled_tasks = case
    found = shortest(compiled_tasks)
    assert sorted(found.tolist()) == list(range(len(tasks)))
    assert shortest(compiled_tasks).tolist() == found.tolist()
    place = {number: n for n, number in enumerate(found.tolist())}
    assert all(place[parent] < place[number] for number, task in enumerate(tasks) for parent in task.parents)
    every = [last_s(compiled_tasks, order) for order in permutations(range(len(tasks)))]
    assert lower_bound(compiled_tasks) <= min(every) + 1e-6
    assert last_s(compiled_tasks, found) <= last_s(compiled_tasks, np.argsort(compiled_tasks.rank, kind="stable"))
    if not compiled_tasks.rank.any():
        assert last_s(compiled_tasks, found) <= 1.1 * min(every) + 1e-6


@settings(max_examples=150, deadline=None)
@given(scheduling(12), st.integers(0, 99), st.sampled_from([0.0, 3.0, 1e6]))
def test_what_was_begun_in_some_order_is_begun_at_the_same_moments_when_it_is_played_in_that_order(
        case: tuple[list[Task], Tasks], seed: int, crowding: float) -> None:
    _, tasks = case
    begin, end, order = play(tasks, np.random.default_rng(seed).normal(0, 5, len(tasks.setup)), crowding)
    again = played(tasks, order)
    assert begin == pytest.approx(again[0])
    assert end == pytest.approx(again[1])


def task(source: int, target: int, *parents: int, work_s: float = 10.0) -> Task:
    return Task(parents=parents, work_s=work_s, links=(source, target), places=(0,))


def test_tasks_of_one_link_are_not_begun_together_where_others_wait() -> None:
    """In pairs of one source each takes twice as long."""
    tasks = compiled([task(0, 1), task(0, 2), task(3, 4), task(3, 5)], [2], 1, 1.0, 1.0)
    assert last_s(tasks, range(4)) == 40
    assert last_s(tasks, shortest(tasks)) == lower_bound(tasks) == 20


def test_the_longest_chain_begins_first() -> None:
    tasks = compiled([task(0, 1), task(2, 3), task(4, 5), task(6, 7, 2), task(8, 9, 3)], [2], 1, 1.0, 1.0)
    assert last_s(tasks, range(5)) == 40
    assert last_s(tasks, shortest(tasks)) == lower_bound(tasks) == 30


def test_an_order_that_cannot_be_bettered_stays() -> None:
    tasks = compiled([task(n, n + 10) for n in range(6)], [3], 1, 1.0, 1.0)
    assert shortest(tasks).tolist() == list(range(6))


def test_a_link_takes_its_time_for_setups_too() -> None:
    """Each setup holds half of the link at least where two may be there: 3 x (10 + 4 / 2); two abreast get as much as they would alone."""
    tasks = [Task(setup_s=4.0, work_s=10.0, links=(0, n), places=(0,)) for n in (1, 2, 3)]
    assert lower_bound(compiled(tasks, [2], 1, 1.0, 1.0)) == 36
    assert lower_bound(compiled(tasks, [2], 1, 1.5, 1.0)) == 3 * (10 + 4 * 0.75) / 1.5
    assert lower_bound(compiled(tasks, [2], 1, 2.0, 1.0)) == 3 * (10 + 4) / 2
