"""Random problems for tests: every kind of rule and objective over the small clusters of tests.support.clusters, small and numa."""

import numpy as np
from hypothesis import strategies as st

from optimizer.cluster import Cluster
from optimizer.constraints.allowed_hosts import AllowedHosts, HostNeed
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint
from optimizer.constraints.cap import Cap
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.dependency import Dependency
from optimizer.constraints.fault_domains import FaultDomains
from optimizer.constraints.load_limit import LoadLimit
from optimizer.constraints.numa import Numa
from optimizer.constraints.preserve import Preserve
from optimizer.constraints.reserve import Reserve
from optimizer.constraints.run import Run
from optimizer.constraints.transient import Transient
from optimizer.objectives.balance_cost import BalanceCost
from optimizer.objectives.base import Objective
from optimizer.objectives.broken import Broken
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.elsewhere import Elsewhere
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.group_move_cost import GroupMoveCost
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.host_pair_cost import HostPairCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.load_cost import LoadCost
from optimizer.objectives.lonely import Lonely
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.overdrawn import Overdrawn
from optimizer.objectives.overload import Overload
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.scattering import Scattering
from optimizer.objectives.server_move_cost import ServerMoveCost
from optimizer.objectives.spread import Spread
from optimizer.problem import Level, Problem, Term
from policy_sources import nova
from tests.support.clusters import clusters
from tests.support.numa import numa_clusters
from tests.support.small import tight

PAIRS = {"h0": "left", "h1": "left", "h2": "right", "h3": "right"}
"""Fault domains of two hosts each, but for the hosts from h4 on, which are alone."""

OBJECTIVES: tuple[Objective, ...] = (
    HostsInUse(), MoveCost(), Remaining("h0"), Elsewhere("h0", "h1"), Elsewhere("h1", "h1"), Spread("cpu"), Spread("memory"),
    Spread("cpu", 0.1), Spread("memory", 0.05), Moves(), ServerMoveCost({"s0": 3, "s2": 1}), GroupMoveCost((("s0", "s1"), ("s2", "s3", "s5"))),
    HostPairCost(np.arange(36).reshape(6, 6)), HostCost({"h0": 1.5, "h2": 0.25}), LoadCost("VCPU", {"h0": 1, "h2": 2}),
    BalanceCost("VCPU", "MEMORY_MB", 2048), Broken({"s0": {"VCPU": 3}, "s1": {"CUSTOM_CARD": 1}}, ("s2",)),
    Overload("cpu", 20), Overload("memory", 10.5), Overload("cpu", 5, frozenset({"h0", "h2"})),
    Overdrawn(frozenset({"h0", "h1"}), "VCPU", 3), Overdrawn(frozenset({"h1", "h2", "h4"}), "DISK_GB", 25),
    Misplaced((Wish(("s0", "s1", "s3"), frozenset({"h0", "h2"}), True), Wish(("s1", "s2"), frozenset({"h0"}), False))),
    Crowded(("s0", "s1", "s2", "s4")), Crowded(("s1", "s2", "s3", "s4", "s5"), 2),
    Scattering(("s0", "s1", "s2"), PAIRS, at_least=3), Scattering(("s1", "s2", "s3", "s4"), {}, at_most=1),
    Scattering(("s0", "s1", "s5"), PAIRS, at_least=2, at_most=2), Lonely(("s0", "s1"), ("s2", "s3"), PAIRS),
    Lonely(("s1", "s2", "s3"), ("s3", "s4"), {}))
"""Every kind of objective that asks for no rule, over hosts h0, h1 and so on and servers s0, s1 and so on."""


def own_rules(cluster: Cluster) -> tuple[Constraint, ...]:
    """A rule or two of each kind that Nova does not know."""
    ids, zones = [server.id for server in cluster.servers], {host.name: host.zone for host in cluster.hosts}
    return (LoadLimit("cpu", 30), LoadLimit("memory", 50.5), LoadLimit("cpu", 10, frozenset({"h1", "h2"})),
            Reserve(frozenset({"h0", "h2"}), "VCPU", 3), Reserve(frozenset({"h1", "h2"}), "MEMORY_MB", 2500),
            Cap("VCPU", {"h0": 3, "h2": 1}), Cap("VCPU", {"h1": 2, "h2": 2}), Cap("DISK_GB", {"h0": 10}),
            AntiAffinity("own", tuple(ids[:4]), 2), FaultDomains("one place", tuple(ids[:3]), zones, at_most=1),
            FaultDomains("two hosts", tuple(ids[1:5]), {}, 2, 2),
            AllowedHosts({**{one: (HostNeed(frozenset({"h0", "h1"}), True),) for one in ids[:2]},
                          **{one: (HostNeed(frozenset({"h2"}), False), HostNeed(frozenset({"h0", "h2", "h3"}), True)) for one in ids[2:4]}}),
            Available(frozenset({cluster.hosts[-1].name})), Transient(frozenset({"VCPU", "DISK_GB"})),
            FaultDomains("by zone", tuple(ids[:3]), zones, 2), FaultDomains("by host", tuple(ids[1:4]), {}, 2),
            Preserve(dict(zip(ids, ({"VCPU": 3}, {"MEMORY_MB": 3072}), strict=False))), Run(tuple(ids[:1])),
            Among("apart", tuple(ids[:3]), (frozenset({"h0", "h2"}), frozenset({"h1"}))),
            Among("overlapping", tuple(ids[1:5]), (frozenset({"h0", "h1"}), frozenset({"h1", "h2"}))),
            Dependency("front", tuple(ids[:2]), "back", tuple(ids[2:4]), zones), Dependency("back", tuple(ids[3:4]), "front", tuple(ids[1:2]), {}))


def in_one_of_several(rule: Among, cluster: Cluster) -> bool:
    """Whether the group is inside one set of hosts that no other overlaps."""
    homes = {cluster.server_by_id[m].host for m in rule.members if m in cluster.server_by_id}
    return any(homes <= one and all(one is other or not one & other for other in rule.sets) for one in rule.sets)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Problems with some of all rules, in any order, and one to three levels of weighted terms of every kind."""
    nodes = draw(st.sampled_from((False, False, True)))
    cluster = draw(numa_clusters() if nodes else clusters() | tight())
    rules = draw(st.lists(st.sampled_from(own_rules(cluster)), max_size=5, unique_by=id))
    if draw(st.integers(0, 4)):
        rules += nova.constraints(cluster)
    rules += [Numa()] if nodes else []
    return Problem(cluster, tuple(draw(st.permutations(rules))), draw(_levels(cluster, rules)), draw(st.sampled_from((None, None, 1, 2, 3))))


@st.composite
def _levels(draw: st.DrawFn, cluster: Cluster, rules: list[Constraint]) -> tuple[Level, ...]:
    """Levels of terms; one of them at most is of groups, since a kernel knows one grouping."""
    fitting = [one for one in OBJECTIVES if not isinstance(one, GroupMoveCost)]
    if any(isinstance(rule, Numa) for rule in rules):
        fitting += [Fragmentation(size, numa=True) for size in (2, 3, 4, 5)]
    elif any(isinstance(rule, Capacity) for rule in rules):
        fitting += [Fragmentation(2), Fragmentation(2048, "MEMORY_MB")]
    weights = st.sampled_from((1.0, 0.3, 7.0))
    levels = [[Term(one, draw(weights)) for one in draw(st.lists(st.sampled_from(fitting), max_size=3, unique_by=id))]
              for _ in range(draw(st.integers(1, 3)))]
    if draw(st.booleans()):
        ids = [server.id for server in cluster.servers]
        cut = draw(st.integers(0, len(ids)))
        draw(st.sampled_from(levels)).append(Term(GroupMoveCost((tuple(ids[:cut]), tuple(ids[cut:]))), draw(weights)))
    return tuple(map(tuple, levels))
