"""Levelling: which problems it takes, what it makes of them, and that a seed decides."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import Cluster
from optimizer.constraints.load_limit import LoadLimit
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.placement import placement_of
from optimizer.problem import Level, Problem, Term
from optimizer.solvers import levelling
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import Compiled, compile_problem
from policy_sources import nova
from tests.support.clusters import LOAD, clusters, make_cluster, make_group, make_host, make_server

FEWEST: tuple[Level, ...] = ((Term(Spread("cpu", 0.1)),), (Term(Moves()), Term(MoveCost())))
WEIGHED: tuple[Level, ...] = ((Term(Spread("cpu", 0.05), 2.0), Term(MoveCost(), 0.1)),)


@pytest.mark.parametrize(("levels", "taken"), [
    (FEWEST, True), (WEIGHED, True), (((Term(Spread("cpu")),),), True), (((Term(Spread("memory")),), (Term(ServerMoveCost({"s0": 3})),)), True),
    (((Term(Spread("cpu")), Term(Spread("memory"))),), False), (((Term(Spread("cpu")),), (Term(HostsInUse()),)), False),
    (((Term(MoveCost()),), (Term(Spread("cpu")),)), False), (((Term(Spread("cpu")),), (Term(Elsewhere("h0", "h1")),)), False),
    (((Term(Spread("cpu"), 0.0),),), False), (((Term(Spread("cpu")), Term(MoveCost(), -1.0)),), False), ((), False),
])
def test_problems_of_one_spread_and_costs_of_moving(levels: tuple[Level, ...], taken: bool) -> None:
    cluster = make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0", cpu_cores=1)], load=LOAD)
    assert levelling.applies(compile_problem(Problem(cluster, (), levels))) is taken


def test_nothing_to_level_without_a_host_that_counts() -> None:
    cluster = make_cluster([make_host("h0", status="disabled")], [make_server("s0", "h0", cpu_cores=1)], load=LOAD)
    assert not levelling.applies(compile_problem(Problem(cluster, (), FEWEST)))


def improved(problem: Problem, seed: int = 1, threads: int = 1) -> tuple[Compiled, list[Any]]:
    """The compiled problem, and every placement that was told of."""
    compiled, told = compile_problem(problem), []
    stop = MaxRuntime(30)
    stop.started()
    levelling.improve(compiled, compiled.arrays.start, stop, seed, threads, lambda where: told.append(where.copy()))
    return compiled, told


@pytest.mark.parametrize("levels", [FEWEST, WEIGHED])
@given(cluster=clusters(max_hosts=4, max_servers=6), limit=st.sampled_from((None, 0, 1, 2)))
def test_every_placement_it_tells_of_is_legal_and_the_best_is_no_worse(levels: tuple[Level, ...], cluster: Cluster, limit: int | None) -> None:
    problem = Problem(cluster, (*nova.constraints(cluster), LoadLimit("cpu", 80)), levels, limit)
    compiled, told = improved(problem)
    found = [compiled.arrays.placement(where) for where in told]
    assert all(problem.breaches(placement) == [] for placement in found)
    assert min([problem.values(placement) for placement in found], default=(0.0,)) <= tuple(
        value + 1e-9 for value in problem.values(placement_of(cluster)))


def hot_and_cold(hot: int = 4, cold: int = 8) -> Cluster:
    """Hot hosts with two large and many small servers each, cold ones with small servers; half of the large ones keep apart."""
    rng = np.random.default_rng(1)
    servers = []
    for h in range(hot):
        servers += [make_server(f"large{h}.{n}", f"hot{h}", cpu_cores=2.0 + 0.1 * h + 0.05 * n, memory_mb=2048) for n in range(2)]
        servers += [make_server(f"small{h}.{n}", f"hot{h}", cpu_cores=float(rng.uniform(0.1, 0.5))) for n in range(5)]
    servers += [make_server(f"idle{h}", f"cold{h}", cpu_cores=0.3) for h in range(cold)]
    group = make_group("anti-affinity", *(f"large{h}.0" for h in range(hot)))
    return make_cluster([*(make_host(f"hot{h}") for h in range(hot)), *(make_host(f"cold{h}") for h in range(cold))], servers, groups=(group,),
                        load=LOAD)


def test_the_threshold_is_met_with_one_large_server_of_each_hot_host() -> None:
    problem = Problem(hot_and_cold(), tuple(nova.constraints(hot_and_cold())), ((Term(Spread("cpu", 0.18)),), FEWEST[1]))
    compiled, told = improved(problem)
    excess, cost = min(problem.values(compiled.arrays.placement(where)) for where in told)
    assert excess == 0
    assert 4 < cost < 5


@pytest.mark.parametrize("levels", [FEWEST, WEIGHED])
def test_a_seed_decides_whatever_the_threads(levels: tuple[Level, ...]) -> None:
    problem = Problem(hot_and_cold(), (), levels)
    runs = [improved(problem, seed=7, threads=threads)[1][-1].tolist() for threads in (1, 1, 3)]
    assert runs[0] == runs[1] == runs[2]


def test_a_threshold_out_of_reach_gives_the_most_even_placement() -> None:
    servers = [make_server(f"s{n}", "h0", cpu_cores=1) for n in range(6)]
    problem = Problem(make_cluster([make_host(f"h{n}") for n in range(4)], servers, load=LOAD), (), ((Term(Spread("cpu")),), FEWEST[1]))
    compiled, told = improved(problem)
    excess, cost = min(problem.values(compiled.arrays.placement(where)) for where in told)
    assert excess == pytest.approx(0.25 / 64)  # 2, 2, 1 and 1 of 8 cores
    assert 4 < cost < 5
