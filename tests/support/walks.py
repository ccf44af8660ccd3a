"""Walks of legal changes through the placements of a problem, as the kernels see it."""

from collections.abc import Iterator

from hypothesis import strategies as st

from optimizer.arrays import Index
from optimizer.solvers.kernel import State, new_state, shift, shift_legal, swap, swap_legal
from optimizer.solvers.packed import Packed


def shifts(P: Packed, X: State) -> Iterator[tuple[int, int]]:
    """Every server with every place but its own."""
    for s, place in enumerate(X.where.tolist()):
        yield from ((s, p) for p in range(len(P.room) * P.modes) if p != place)


def swaps(P: Packed, X: State) -> Iterator[tuple[int, int]]:
    """Every two servers on different hosts, both ways round."""
    hosts = (X.where // P.modes).tolist()
    yield from ((s, t) for s, h in enumerate(hosts) for t, k in enumerate(hosts) if h != k)


def walk(data: st.DataObject, P: Packed, start: Index, steps: int) -> Iterator[State]:
    """Legal shifts and swaps, about as many of each; yields the state before each, and the last one."""
    X = new_state(P, start)
    for _ in range(steps):
        yield X
        ways = [(shift, s, p) for s, p in shifts(P, X) if shift_legal(P, X, s, p)]
        exchanges = [(swap, s, t) for s, t in swaps(P, X) if swap_legal(P, X, s, t)]
        if not ways and not exchanges:
            return
        change, first, second = data.draw(st.sampled_from(exchanges if exchanges and (not ways or data.draw(st.booleans())) else ways))
        change(P, X, first, second)
    yield X
