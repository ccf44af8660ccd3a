"""The value of each objective by hand, and as the solvers see it."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from optimizer.load import LoadMissing
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.host_pair_cost import HostPairCost
from optimizer.objectives.hosts_in_use import HostsInUse, bound_hosts, hosts_in_use
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.move_cost import MoveCost, move_costs
from optimizer.objectives.moves import Moves
from optimizer.objectives.overload import Overload
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread, spread
from optimizer.problem import Problem, Term
from optimizer.solvers import local_search
from optimizer.solvers.cp_sat_model import build, everything
from optimizer.solvers.cp_sat_terms import TERMS
from optimizer.solvers.terms import Compiled, compile_problem
from tests.support.clusters import clusters, in_flight, make_cluster, make_host, make_server, moved, placements
from tests.support.problems import OBJECTIVES

EMPTY = make_cluster([])
IDLE = make_cluster([make_host("h0"), make_host("h1")])
# Two hosts of 4 cores and one of 8, all with 4000 MiB; 2 + 1 + 1 cores used, so 1 core on the small ones is balance.
THREE = make_cluster(
    [make_host("h0", vcpus=4, memory_mb=4000), make_host("h1", vcpus=4, memory_mb=4000),
     make_host("h2", vcpus=8, memory_mb=4000)],
    [make_server("s0", "h0", cpu_cores=2, used_mb=400, memory_mb=3000),
     make_server("s1", "h0", cpu_cores=1, used_mb=400, memory_mb=500),
     make_server("s2", "h1", cpu_cores=1, used_mb=400, memory_mb=500)])


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_is_perfect(objective: Objective) -> None:
    assert objective.value(EMPTY, {}) == 0
    assert objective.value(IDLE, {}) == 0


def test_spread_without_usage_is_an_error() -> None:
    cluster = make_cluster([make_host("h0")], [make_server("s0", "h0")])
    with pytest.raises(LoadMissing, match="s0"):
        Spread("cpu").value(cluster, moved(cluster))


@pytest.mark.parametrize(("objective", "to", "expected"), [
    (HostsInUse(), {}, 2 / 3), (HostsInUse(), {"s2": "h0"}, 1 / 3), (HostsInUse(), {"s0": "h2"}, 1.0),
    (MoveCost(), {}, 0), (MoveCost(), {"s0": "h1"}, 0.5 / 3 + 0.5 * 3 / 4),
    (MoveCost(), {"s0": "h1", "s1": "h1", "s2": "h0"}, 1.0),
    (Remaining("h0"), {}, 2 / 3), (Remaining("h0"), {"s0": "h1"}, 1 / 3), (Remaining("h2"), {}, 0),
    (Elsewhere("h0", "h1"), {}, 0), (Elsewhere("h0", "h1"), {"s0": "h1", "s1": "h2", "s2": "h2"}, 1 / 3),
    (Spread("cpu"), {}, ((0.75 - 1 / 3) ** 2 + (0.25 - 1 / 3) ** 2 + (1 / 3) ** 2) / 3), (Spread("cpu"), {"s0": "h2"}, 0),
    (Spread("cpu", 0.3), {}, (0.75**2 + 0.25**2) / 3 - 1 / 9 - 0.09), (Spread("cpu", 0.4), {}, 0),
    (Overload("cpu", 50), {}, 1 / 16), (Overload("cpu", 50), {"s0": "h2"}, 0), (Overload("memory", 15), {"s0": "h1"}, 200 / 12000),
    (Moves(), {"s0": "h1", "s1": "h0"}, 1), (ServerMoveCost({"s0": 3, "s2": 1}), {"s0": "h1", "s1": "h1"}, 3),
    (GroupMoveCost((("s0", "s1"), ("s2",))), {"s0": "h1", "s1": "h1", "s2": "h2"}, 2), (GroupMoveCost(()), {"s0": "h1"}, 0),
    (HostPairCost(np.arange(9).reshape(3, 3)), {"s0": "h1", "s2": "h0"}, 1 + 3), (HostPairCost(np.arange(9).reshape(3, 3)), {}, 0),
    (HostCost({"h0": 1.5, "h2": 0.25}), {"s2": "h2"}, 1.75), (LoadCost("MEMORY_MB", {"h0": 3000, "h1": 100}), {}, 500 + 400),
    (BalanceCost("VCPU", "MEMORY_MB", 1000), {}, 1500 + 0 + 4000), (BalanceCost("VCPU", "MEMORY_MB", 1000), {"s0": "h2"}, 0 + 0 + 6000),
    (Spread("memory"), {}, (0.1**2 + 0 + 0.1**2) / 3), (Spread("memory"), {"s0": "h2"}, 0),
])
def test_values_by_hand(objective: Objective, to: dict[str, str], expected: float) -> None:
    assert objective.value(THREE, moved(THREE, **to)) == pytest.approx(expected, abs=1e-12)


def test_hosts_that_nobody_may_enter_do_not_count() -> None:
    cluster = make_cluster([make_host("h0"), make_host("h1", status="disabled"), make_host("h2", state="down")],
                           [make_server("s0", "h1", cpu_cores=4), make_server("s1", "h2", cpu_cores=8)])
    assert HostsInUse().value(cluster, moved(cluster)) == 0
    assert HostsInUse().value(cluster, moved(cluster, s0="h0")) == 1
    assert spread(cluster, moved(cluster), "cpu") == 0
    assert spread(cluster, moved(cluster, s0="h0"), "cpu") == 0
    two = make_cluster([*cluster.hosts, make_host("h3")], cluster.servers)
    assert spread(two, moved(two, s0="h0"), "cpu") == 0.25  # 50 % and 0 %


def test_what_others_hold_keeps_a_host_in_use() -> None:
    hosts = [make_host("h0", held={"VCPU": 1}), make_host("h1", held={"VCPU": 0}), make_host("h2"), make_host("h3"),
             make_host("h4")]
    cluster = make_cluster(hosts, [make_server("s0", "h2")],
                           migrations=(in_flight("s0", "h2", "h3"), in_flight("s1", "h2", None)))
    assert bound_hosts(cluster) == {"h0", "h2", "h3"}
    assert hosts_in_use(cluster, moved(cluster, s0="h4")) == {"h0", "h2", "h3", "h4"}


def test_moving_everything_once_costs_one() -> None:
    assert sum(move_costs(THREE).values()) == pytest.approx(1)
    weightless = make_cluster([make_host("h0")], [make_server("s0", "h0", memory_mb=0), make_server("s1", "h0", memory_mb=0)])
    assert move_costs(weightless) == {"s0": 0.25, "s1": 0.25}


def compiled_with(data: st.DataObject, mixed: bool, objective: Objective) -> Compiled:
    """A random cluster without rules, so that every placement is legal."""
    return compile_problem(Problem(data.draw(clusters(mixed=mixed)), (), ((Term(objective),),)))


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@given(data=st.data())
def test_the_local_search_knows_what_a_move_changes(objective: Objective, data: st.DataObject) -> None:
    compiled = compiled_with(data, True, objective)
    cluster = compiled.problem.cluster
    placement = data.draw(placements(cluster))
    where = np.array([compiled.host_index[placement[server.id]] for server in cluster.servers], dtype=np.int32)
    state = local_search.State(compiled, where)
    change = state.gain(np.arange(len(where), dtype=np.int32))
    before = objective.value(cluster, placement)
    for s, server in enumerate(cluster.servers):
        for h, host in enumerate(cluster.hosts):
            if h != where[s]:
                after = objective.value(cluster, {**placement, server.id: host.name})
                assert change[s, h] == pytest.approx(after - before, abs=1e-9), (server.id, host.name)


def value_of_model(compiled: Compiled, placement: dict[str, str], objective: Objective) -> tuple[float, float]:
    """(the least value the CP-SAT model has for a placement, the size of its unit)."""
    model = build(compiled, compiled.arrays.start, everything(compiled))
    encoded = TERMS[type(objective)](model, objective)
    for s, server in enumerate(compiled.problem.cluster.servers):
        model.cp.add(model.on(s, compiled.host_index[placement[server.id]]) == 1)
    model.cp.minimize(encoded.sum)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model.cp) == cp_model.OPTIMAL
    assert 0 <= solver.objective_value <= encoded.greatest
    return solver.objective_value / encoded.scale, 1 / encoded.scale


@pytest.mark.parametrize(("mixed", "within"), [
    (False, lambda value, unit, servers: unit), (True, lambda value, unit, servers: unit + 1e-3 * value)],
    ids=["one size", "mixed"])
@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
@given(data=st.data())
def test_the_model_has_the_value_of_the_objective(objective: Objective, mixed: bool, within: Callable[[float, float, int], float],
                                                  data: st.DataObject) -> None:
    """Exactly, but for the unit a threshold or a cost is rounded to, and a thousandth where hosts differ in size."""
    compiled = compiled_with(data, mixed, objective)
    placement = data.draw(placements(compiled.problem.cluster))
    expected = objective.value(compiled.problem.cluster, placement)
    found, unit = value_of_model(compiled, dict(placement), objective)
    squares = expected + objective.threshold**2 if isinstance(objective, Spread) else expected
    rounded = len(placement) * unit / 2 if isinstance(objective, MoveCost) else 0
    exact = not isinstance(objective, MoveCost) and not getattr(objective, "threshold", 0) and not mixed
    assert abs(found - expected) <= (1e-12 if exact else rounded + within(squares, unit, len(placement)))
