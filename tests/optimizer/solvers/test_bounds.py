"""Bounds without search: below every legal placement, and where they can be, met."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.cluster import NumaNode, Obstacle
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.movable import Movable
from optimizer.constraints.numa import Numa
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.scattering import Scattering
from optimizer.problem import Problem, Term
from optimizer.solvers.bounds import level_bounds
from optimizer.solvers.terms import compile_problem
from policy_sources import nova
from tests.support.clusters import clusters, make_cluster, make_host, make_server

KINDS: tuple[Objective, ...] = (
    HostsInUse(), Remaining("h0"), LoadCost("VCPU", {"h0": 1, "h1": 0, "h2": 2}), LoadCost("VCPU", {"h0": 1}), BalanceCost("VCPU", "MEMORY_MB", 512),
    BalanceCost("MEMORY_MB", "VCPU", 1), HostCost({"h0": 2.0, "h1": 0.5}))


@pytest.mark.parametrize("objective", KINDS, ids=repr)
@given(cluster=clusters(max_hosts=3, max_servers=4))
def test_no_legal_placement_is_below(objective: Objective, cluster: object) -> None:
    problem = Problem(cluster, tuple(nova.constraints(cluster)), ((Term(objective, 2.0),),))  # type: ignore[arg-type]
    bound = level_bounds(compile_problem(problem), (1.0,))[0]
    assert bound is not None
    for hosts in itertools.product([host.name for host in problem.cluster.hosts], repeat=len(problem.cluster.servers)):
        placement = dict(zip([server.id for server in problem.cluster.servers], hosts, strict=True))
        if not problem.breaches(placement):
            assert bound <= problem.values(placement)[0] + 1e-9


RULES: tuple[Objective, ...] = (
    Misplaced((Wish(("s0", "s1", "s3"), frozenset({"h0", "h2"}), True), Wish(("s1", "s2"), frozenset({"h0"}), False))), Crowded(("s0", "s1", "s2")),
    Crowded(("s1", "s2", "s3"), 2), Scattering(("s0", "s1", "s2"), {}, at_least=3), Scattering(("s1", "s2", "s3"), {"h0": "x", "h1": "x"}, at_most=1),
    Scattering(("s0", "s3"), {"h0": "x", "h1": "x"}, at_least=2))


@given(data=st.data())
def test_no_repair_takes_fewer_moves(data: st.DataObject) -> None:
    cluster = data.draw(clusters(max_hosts=3, max_servers=4))
    rules = tuple(Term(one) for one in data.draw(st.lists(st.sampled_from(RULES), min_size=1, max_size=3, unique_by=id)))
    problem = Problem(cluster, (), (rules, (Term(Moves()), Term(MoveCost(), 0.5))))
    bound = level_bounds(compile_problem(problem), (0.0, 1.0))[1]
    for hosts in itertools.product([host.name for host in cluster.hosts], repeat=len(cluster.servers)):
        values = problem.values(dict(zip([server.id for server in cluster.servers], hosts, strict=True)))
        if values[0] == 0:
            assert (bound or 0.0) <= values[1] + 1e-9


def test_fewest_moves_of_rules_that_share_nobody() -> None:
    cluster = make_cluster([make_host(f"h{h}") for h in range(3)], [make_server(f"s{n}", "h0") for n in range(8)])
    rules = (Misplaced((Wish(("s0",), frozenset({"h0"}), False),)), Crowded(("s0", "s1", "s2")), Scattering(("s3", "s4"), {}, at_least=2),
             Crowded(("s5", "s6", "s7"), 2))
    problem = Problem(cluster, (), (tuple(Term(one) for one in rules), (Term(Moves()),)))
    assert level_bounds(compile_problem(problem), (0.0, 1.0)) == (0.0, 4.0)


@pytest.mark.parametrize(("objective", "expected"), [
    (LoadCost("VCPU", {"h0": 1, "h1": 2}), 3), (LoadCost("VCPU", {"h0": 9, "h1": 9}), 0), (LoadCost("VCPU", {"h0": 1}), 0),
    (BalanceCost("VCPU", "DISK_GB", 100), 100 * 10 - 180),
])
def test_hosts_taken_together(objective: Objective, expected: float) -> None:
    cluster = make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0", vcpus=4), make_server("s1", "h1", vcpus=2)])
    assert level_bounds(compile_problem(Problem(cluster, (), ((Term(objective),),))), (1.0,))[0] == expected


def test_servers_that_cannot_move_are_on_their_host_whatever_their_node() -> None:
    nodes = (NumaNode(cpus=4, memory_mb=4096),) * 2
    hosts = [make_host(name, numa=nodes) for name in ("h0", "h1", "h2")]
    servers = [make_server(f"s{n}", f"h{n}", numa=(1,)) for n in range(3)]
    stuck = Movable({server.id: (Obstacle(kind="pci", text="it has a card"),) for server in servers})
    problem = Problem(make_cluster(hosts, servers), (Capacity(), Numa(), stuck), ((Term(HostsInUse()),),))
    assert level_bounds(compile_problem(problem), (1.0,)) == (1.0,)
