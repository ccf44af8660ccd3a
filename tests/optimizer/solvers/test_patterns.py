"""The pattern solver: against the model of every server, and on what it aggregates."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.cluster import Cluster, NumaNode
from optimizer.constraints.base import Constraint
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.numa import Numa
from optimizer.constraints.transient import Transient
from optimizer.objectives.base import Objective
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.problem import Level, Problem, Term
from optimizer.solvers import cp_sat, patterns
from optimizer.solvers.pattern_model import aggregate
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import Compiled, compile_problem
from policy_sources import nova
from tests.support.clusters import clusters, make_cluster, make_host, make_server
from tests.support.numa import numa_clusters

SECOND: tuple[Level, ...] = ((Term(Moves()),), (Term(MoveCost()),), (Term(ServerMoveCost({"s0": 3, "s2": 1})),), (Term(MoveCost(), 2), Term(Moves())))


def problem_of(cluster: Cluster, rules: tuple[Constraint, ...], *objectives: Objective, max_moves: int | None = None) -> Compiled:
    return compile_problem(Problem(cluster, rules, tuple((Term(objective),) for objective in objectives), max_moves))


def limit(seconds: float = 30) -> MaxRuntime:
    stop = MaxRuntime(seconds)
    stop.started()
    return stop


def exact(compiled: Compiled) -> tuple[float, ...]:
    """The best values, by CP-SAT over every server."""
    hosts = np.ones(len(compiled.arrays.room), dtype=np.bool_)
    answer = cp_sat.solve_cp_sat(compiled, compiled.arrays.start, cp_sat.Scope(compiled.arrays.movable, hosts), limit(), 1, 1)
    assert answer.proven
    return compiled.problem.values(compiled.arrays.placement(answer.where))


def judge(compiled: Compiled) -> None:
    """The answer is legal at every stage, no better than the optimum, its bounds hold, and what it calls proven is the optimum."""
    stages: list[np.ndarray] = []
    answer = patterns.solve_patterns(compiled, limit(), 1, stages.append)
    if answer is None:
        return
    best = exact(compiled)
    for where in [*stages, answer.where]:
        assert not compiled.problem.breaches(compiled.arrays.placement(where))
    values = compiled.problem.values(compiled.arrays.placement(answer.where))
    assert answer.bounds[0] is None or answer.bounds[0] <= best[0] + 1e-9
    assert values[0] >= best[0] - 1e-9
    if answer.bounds[0] is not None and values[0] <= answer.bounds[0] + 1e-9 and len(values) > 1 and answer.bounds[1] is not None:
        assert answer.bounds[1] <= best[1] + 1e-9
    if answer.proven:
        assert values == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_numa_nodes(data: st.DataObject) -> None:
    cluster = data.draw(numa_clusters())
    objective = Fragmentation(data.draw(st.sampled_from((2, 3, 4))), numa=True)
    second = data.draw(st.sampled_from(SECOND))
    compiled = compile_problem(Problem(cluster, (*nova.constraints(cluster), Numa()), ((Term(objective),), second), data.draw(st.sampled_from((None, 1, 2, 3)))))
    if any(server.numa and server.resources["VCPU"] for server in cluster.servers):
        judge(compiled)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_hosts_with_every_rule_of_nova(data: st.DataObject) -> None:
    cluster = data.draw(clusters(max_servers=8))
    objective = Fragmentation(data.draw(st.sampled_from((1, 2, 3))), data.draw(st.sampled_from(("VCPU", "MEMORY_MB"))))
    second = data.draw(st.sampled_from(SECOND))
    compiled = compile_problem(Problem(cluster, tuple(nova.constraints(cluster)), ((Term(objective, 2.0),), second), data.draw(st.sampled_from((None, 1, 3)))))
    judge(compiled)
