"""The order in which tasks should begin so that all end early: tasks that wait for others, share links and take up places.

A task passes its setup and then its work. Its two links (a source and a target) are shared evenly by the tasks on them where there are more than go
``abreast`` at full speed; of the tasks that queue for a source some ``lanes`` are served at once. It takes up one of each of its places from its
beginning until its tail has passed and that is noticed, at the next look.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from optimizer.solvers.scheduling_kernel import play

_EPSILON_S = 1e-9
_NEAR = 1.005  # times the bound: good enough
_CROWDING = (1.0, 1e6)  # times the longest task: the price of a link in use
_RANKED = 1e12  # above all other prices
_STARTS, _FEW = 4, 6
_MOST_TRIALS, _TRIALS = 6_000, 1.2e7  # a trial of twice as many tasks takes about three times as long


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """``setup_s`` and ``work_s`` are seconds when it has its links for itself, ``tail_s`` come after; ``parents`` are numbers of tasks before it.

    An instant one has no links. Of those that may begin, those of the lowest ``rank`` go first, however long that takes.
    """

    parents: Sequence[int] = ()
    rank: int = 0
    setup_s: float = 0.0
    work_s: float = 0.0
    tail_s: float = 0.0
    links: tuple[int, int] | None = None
    queued: bool = False
    places: Sequence[int] = ()


class Tasks(NamedTuple):
    """Tasks as arrays; the rank of one is the lowest of those that wait for it."""

    rank: np.ndarray
    setup: np.ndarray
    work: np.ndarray
    tail: np.ndarray
    source: np.ndarray
    target: np.ndarray
    queued: np.ndarray
    instant: np.ndarray
    first_place: np.ndarray
    places: np.ndarray
    first_child: np.ndarray
    children: np.ndarray
    waits: np.ndarray
    room: np.ndarray
    links: int
    lanes: int
    abreast: float
    interval_s: float


def compiled(tasks: Sequence[Task], room: Sequence[int], lanes: int, abreast: float, interval_s: float) -> Tasks:
    """``room``: how many tasks each place takes at once; ``abreast``: 1 or more; ``interval_s``: between two looks."""
    children: list[list[int]] = [[] for _ in tasks]
    for number, task in enumerate(tasks):
        for parent in task.parents:
            children[parent].append(number)
    ranks = [task.rank for task in tasks]
    for number, some in reversed(list(enumerate(children))):
        ranks[number] = min([ranks[number], *(ranks[child] for child in some)])
    ends = [task.links or (0, 0) for task in tasks]
    first_place, places = _ragged([task.places for task in tasks])
    first_child, kids = _ragged(children)
    return Tasks(
        np.array(ranks, float), np.array([task.setup_s for task in tasks], float), np.array([task.work_s for task in tasks], float),
        np.array([task.tail_s for task in tasks], float),
        np.array([source for source, _ in ends], np.int64), np.array([target for _, target in ends], np.int64),
        np.array([task.queued for task in tasks], bool), np.array([task.links is None for task in tasks], bool),
        first_place, places, first_child, kids, np.array([len(task.parents) for task in tasks], np.int64), np.array(room, np.int64),
        max((max(pair) for pair in ends), default=0) + 1, lanes, abreast, interval_s)


def _ragged(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum([0, *map(len, rows)]), np.array([one for row in rows for one in row], np.int64)


def played(tasks: Tasks, order: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds at which each begins and ends when of those that may begin the first of ``order`` goes first."""
    begin, end, _ = play(tasks, _ranks(order), 0.0)
    return begin, end


def shortest(tasks: Tasks, seed: int = 0) -> np.ndarray:
    """The order by which the last of the tasks ends earliest, of all that were tried and keep ranks; the one they have where none is better.

    Rules of list scheduling first: what has the longest chain behind it, or the most work on its links, and of these rather what finds its links
    free, since tasks that share a link hold their places longer. Then the priorities of the best rules are changed at random, a few at a time, and
    kept where that is no worse. How many trials there are depends on the number of tasks alone; near the bound they end.
    """
    count = len(tasks.setup)
    best = np.argsort(tasks.rank, kind="stable")
    least, enough = _last(tasks, best), _NEAR * lower_bound(tasks)
    if least <= enough:
        return best
    slots = _slots_s(tasks)
    scale = float(slots.max())
    rules = [(*_tried(tasks, key, crowding * scale), key, crowding * scale) for key in _rules(tasks, slots) for crowding in _CROWDING]
    rules = sorted(rules, key=lambda rule: rule[0])[:_STARTS]
    random = np.random.default_rng(seed)
    for reached, order, key, crowding in rules:
        if reached < least:
            least, best = reached, order
        for _ in range(min(_MOST_TRIALS, int(_TRIALS / count ** 1.5)) // _STARTS):
            if least <= enough:
                break
            other, some = key.copy(), random.integers(0, count, random.integers(1, _FEW))
            other[some] += random.normal(0.0, scale, len(some))
            seconds, order = _tried(tasks, other, crowding)
            if seconds <= reached:
                reached, key = seconds, other
            if seconds < least:
                least, best = seconds, order
    tidy = np.lexsort((tasks.rank, played(tasks, best)[0]))  # those that begin together as they came
    return tidy if _last(tasks, tidy) <= least else best


def lower_bound(tasks: Tasks) -> float:
    """Seconds before which no order whatever has all tasks ended.

    The longest chain; and for each place, queue and link the time that all tasks there, those that cannot begin before some moment and have a chain
    of some length behind them, take of it (heads, bodies and tails: Carlier, "The one-machine sequencing problem", EJOR 11, 1982).
    """
    slots = _slots_s(tasks)
    heads, tails = _chains(tasks, slots)
    bound = float((heads + slots).max(initial=0.0))
    for members, bodies in _resources(tasks, slots):
        bound = max(bound, _one_machine(heads[members], bodies, tails[members], tasks.interval_s))
    return bound


def _one_machine(heads: np.ndarray, bodies: np.ndarray, tails: np.ndarray, interval_s: float) -> float:
    by_tail = np.argsort(-tails, kind="stable")
    heads, bodies, tails = heads[by_tail], bodies[by_tail], tails[by_tail]
    bound = 0.0
    for head in np.unique(heads):
        late = heads >= head
        ends = head + np.cumsum(bodies[late])
        bound = max(bound, float((np.ceil((ends - _EPSILON_S) / interval_s) * interval_s + tails[late]).max()))
    return bound


def _resources(tasks: Tasks, slots: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tasks that share something of which there is one second a second, and what each takes of it at least."""
    places = tasks.first_place
    owner = np.repeat(np.arange(len(slots)), np.diff(places))
    for place, room in enumerate(tasks.room):
        members = owner[tasks.places == place]
        yield members, slots[members] / room
    alone, room = tasks.setup + tasks.work, tasks.room.astype(float)
    for link in range(tasks.links):
        sent = np.flatnonzero((tasks.source == link) & tasks.queued)
        yield sent, alone[sent] / tasks.lanes
        members = np.flatnonzero(((tasks.source == link) | (tasks.target == link)) & ~tasks.instant)
        if not len(members):
            continue
        # A setup takes its share of the link as work does, though it leaves it unused; the share is least when as many as may be are there.
        shared = np.bincount(np.concatenate([tasks.places[places[one]:places[one + 1]] for one in members]), minlength=len(room)) == len(members)
        share = min(1.0, tasks.abreast / room[shared].min(initial=len(members)))
        yield members, (tasks.work[members] + tasks.setup[members] * share) / tasks.abreast


def _slots_s(tasks: Tasks) -> np.ndarray:
    """Seconds from the beginning of each task until its end is noticed, when it has its links for itself."""
    return np.asarray(np.maximum(1.0, np.ceil((tasks.setup + tasks.work + tasks.tail - _EPSILON_S) / tasks.interval_s)) * tasks.interval_s)


def _chains(tasks: Tasks, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of the longest chain of tasks before each, and behind it."""
    heads, tails = np.zeros(len(slots)), np.zeros(len(slots))
    for task in range(len(slots)):
        children = tasks.children[tasks.first_child[task]:tasks.first_child[task + 1]]
        heads[children] = np.maximum(heads[children], heads[task] + slots[task])
    for task in reversed(range(len(slots))):
        children = tasks.children[tasks.first_child[task]:tasks.first_child[task + 1]]
        tails[task] = (slots[children] + tails[children]).max(initial=0.0)
    return heads, tails


def _rules(tasks: Tasks, slots: np.ndarray) -> Iterator[np.ndarray]:
    """Priorities, the least first."""
    _, tails = _chains(tasks, slots)
    load = np.zeros(tasks.links)
    np.add.at(load, tasks.source, slots * ~tasks.instant)
    np.add.at(load, tasks.target, slots * ~tasks.instant)
    busiest = np.maximum(load[tasks.source], load[tasks.target])
    yield -(slots + tails)
    yield -busiest
    yield -(slots + tails + busiest)
    yield np.arange(len(slots), dtype=float)


def _tried(tasks: Tasks, key: np.ndarray, crowding: float) -> tuple[float, np.ndarray]:
    _, end, order = play(tasks, key + _RANKED * tasks.rank, crowding)
    return float(end.max()), order


def _last(tasks: Tasks, order: np.ndarray) -> float:
    return float(played(tasks, order)[1].max(initial=0.0))


def _ranks(order: Sequence[int] | np.ndarray) -> np.ndarray:
    ranks = np.empty(len(order))
    ranks[np.asarray(order, np.int64)] = np.arange(len(order))
    return ranks
