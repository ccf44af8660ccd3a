"""The bounds of levelling hold: compared with every legal placement of tiny clusters."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import Cluster
from optimizer.constraints.load_limit import LoadLimit
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.problem import Level, Problem, Term, better
from optimizer.solvers import levelling, levelling_bound
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import compile_problem
from policy_sources import nova
from tests.optimizer.solvers.test_levelling import hot_and_cold
from tests.support.clusters import clusters
from tests.support.small import tight

LEVELS: tuple[tuple[Level, ...], ...] = (
    ((Term(Spread("cpu", 0.1)),), (Term(Moves()), Term(MoveCost()))),
    ((Term(Spread("cpu", 0.05)),), (Term(MoveCost()),)),
    ((Term(Spread("cpu", 0.2)),), (Term(ServerMoveCost({"s0": 2, "s1": 1, "s2": 5})),), (Term(Moves()),)),
    ((Term(Spread("cpu")),), (Term(Moves()),)),
    ((Term(Spread("cpu", 0.05), 2.0), Term(MoveCost(), 0.1)),),
    ((Term(Spread("cpu", 0.1)), Term(Moves(), 0.01)), (Term(MoveCost()),)),
)


def running() -> MaxRuntime:
    stop = MaxRuntime(60)
    stop.started()
    return stop


def best_values(problem: Problem) -> tuple[float, ...]:
    """The best values of all legal placements, and which placement has them."""
    cluster, best = problem.cluster, None
    for hosts in itertools.product([host.name for host in cluster.hosts], repeat=len(cluster.servers)):
        placement = dict(zip([server.id for server in cluster.servers], hosts, strict=True))
        if (best is None or better(problem.values(placement), best[0])) and not problem.breaches(placement):
            best = problem.values(placement), placement
    assert best is not None
    return best


@pytest.mark.parametrize("cells", [levelling_bound._CELLS, 0], ids=["relaxation", "tangents"])
@given(cluster=clusters(max_hosts=4, max_servers=5) | tight(), levels=st.sampled_from(LEVELS), limited=st.booleans())
def test_no_legal_placement_is_better_than_its_bound(cells: int, cluster: Cluster, levels: tuple[Level, ...], limited: bool) -> None:
    if len(cluster.hosts) ** len(cluster.servers) > 5000 or any(server.usage is None for server in cluster.servers):
        return
    problem = Problem(cluster, (*nova.constraints(cluster), *((LoadLimit("cpu", 60),) if limited else ())), levels)
    compiled = compile_problem(problem)
    if not levelling.applies(compiled):
        return
    values, placement = best_values(problem)
    known, levelling_bound._CELLS = levelling_bound._CELLS, cells
    try:
        # From the best placement, and from one that is only legal.
        for where in (compiled.arrays.where(placement), compiled.arrays.start):
            bounds = levelling_bound.level_bounds(compiled, where, running())
            assert len(bounds) == len(levels)
            reached = problem.values(compiled.arrays.placement(where))
            for n, bound in enumerate(bounds):
                if bound is not None and all(abs(a - b) <= 1e-9 for a, b in zip(reached[:n], values[:n], strict=True)):
                    assert bound <= values[n] + 1e-9
    finally:
        levelling_bound._CELLS = known


def test_the_fewest_moves_are_proven() -> None:
    cluster = hot_and_cold()
    problem = Problem(cluster, tuple(nova.constraints(cluster)), ((Term(Spread("cpu", 0.18)),), (Term(Moves()), Term(MoveCost()))))
    compiled = compile_problem(problem)
    where = levelling.improve(compiled, compiled.arrays.start, running(), 1, 1, lambda where: None)
    assert int((where != compiled.arrays.start).sum()) == 4
    excess, bound = levelling_bound.level_bounds(compiled, where, running())
    assert excess == 0
    assert bound is not None
    assert 4 <= bound <= problem.values(compiled.arrays.placement(where))[1]


def test_a_weighed_cost_is_nearly_met() -> None:
    problem = Problem(hot_and_cold(), (), ((Term(Spread("cpu", 0.1)), Term(MoveCost(), 0.05)),))
    compiled = compile_problem(problem)
    where = levelling.improve(compiled, compiled.arrays.start, running(), 1, 1, lambda where: None)
    (bound,) = levelling_bound.level_bounds(compiled, where, running())
    (value,) = problem.values(compiled.arrays.placement(where))
    assert bound is not None
    assert 0.9 * value <= bound <= value


@given(data=st.data())
def test_the_cheapest_gains_are_the_optimum_of_a_knapsack_in_parts(data: st.DataObject) -> None:
    """Any whole choice that gains as much as is needed, what is lacking paid for, costs no less."""
    count = data.draw(st.integers(0, 6))
    numbers = st.floats(0.01, 10)
    gain, cost = (np.array(data.draw(st.lists(numbers, min_size=count, max_size=count))) for _ in range(2))
    need, price = data.draw(st.floats(-1, 20)), data.draw(st.sampled_from((0.5, 3.0, math.inf)))
    least = levelling_bound._cheapest(gain, cost, need, price)
    for chosen in itertools.product((False, True), repeat=count):
        mask = np.array(chosen, dtype=bool)
        lacking = max(0.0, need - float(gain[mask].sum()))
        paid = float(cost[mask].sum()) + (lacking * price if lacking > 1e-12 else 0.0)
        assert least <= paid + 1e-9
