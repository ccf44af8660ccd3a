"""Whatever starts when its parents have ended is legal, however long everything takes."""

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.order import Ordered, Step, order
from optimizer.arrays import compile_arrays
from optimizer.cluster import Cluster, Inventory, Migration
from optimizer.constraints.among import Among
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.available import Available
from optimizer.constraints.base import Constraint, breaches
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.load_limit import LoadLimit
from optimizer.constraints.preserve import Preserve
from optimizer.placement import Placement, placement_of
from policy_sources import nova
from tests.support.clusters import clusters, in_flight, make_cluster, make_group, make_host, make_server
from tests.support.small import tight, wandered

SMALL = {"vcpus": 4, "memory_mb": 8192}


def rules_of(cluster: Cluster) -> list[Constraint]:
    return [*nova.constraints(cluster), LoadLimit("cpu", 60.0)]


def ordered(cluster: Cluster, target: Placement, rules: list[Constraint] | None = None, max_steps: int | None = None,
            priority: list[int] | None = None) -> Ordered:
    arrays = compile_arrays(cluster, tuple(rules_of(cluster) if rules is None else rules))
    index = {host.name: h for h, host in enumerate(cluster.hosts)}
    where = np.array([index[target[server.id]] for server in cluster.servers], dtype=np.int32)
    return order(arrays, where, list(range(len(where))) if priority is None else priority, max_steps)


def named(cluster: Cluster, steps: tuple[Step, ...]) -> list[tuple[str, str, str]]:
    return [(cluster.servers[s.server].id, cluster.hosts[s.source].name, cluster.hosts[s.destination].name) for s in steps]


# ---- judging a schedule


@dataclass
class Schedule:
    """Runs steps on a cluster; every start is judged as Nova sees it: those in flight are on their source and hold both hosts."""

    cluster: Cluster
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        self.rules = [rule for rule in rules_of(self.cluster) if rule.continuous]
        self.running: set[int] = set()
        self.ended: set[int] = set()
        self.where = dict(placement_of(self.cluster))
        self.was = {host.name: self.excess(host.name) for host in self.cluster.hosts}

    def ready(self) -> list[int]:
        begun = self.running | self.ended
        return [n for n, step in enumerate(self.steps) if n not in begun and self.ended.issuperset(step.parents)]

    def start(self, number: int) -> None:
        step = self.steps[number]
        server, to = self.cluster.servers[step.server], self.cluster.hosts[step.destination].name
        assert self.where[server.id] == self.cluster.hosts[step.source].name
        flights = [self.flight(n) for n in self.running]
        now = replace(self.cluster, servers=tuple(replace(s, host=self.where[s.id]) for s in self.cluster.servers),
                      migrations=(*self.cluster.migrations, *flights))
        assert breaches(self.rules, now, {**self.where, server.id: to}) == []
        self.running.add(number)
        for host in (to, self.where[server.id]):
            self.judge(host)

    def end(self, number: int) -> None:
        self.running.remove(number)
        self.ended.add(number)
        self.where[self.cluster.servers[self.steps[number].server].id] = self.cluster.hosts[self.steps[number].destination].name

    def flight(self, number: int) -> Migration:
        step = self.steps[number]
        server = self.cluster.servers[step.server]
        return in_flight(server.id, self.cluster.hosts[step.source].name, self.cluster.hosts[step.destination].name, **server.resources)

    def excess(self, host: str) -> Mapping[str, int]:
        """What is beyond the limits of a host, counted by hand: resources, CPU load, members of groups."""
        on = [s for s in self.cluster.servers if self.where[s.id] == host]
        on += [self.cluster.servers[self.steps[n].server] for n in self.running if self.cluster.hosts[self.steps[n].destination].name == host]
        flying = [m for m in self.cluster.migrations if m.other_side(self.cluster.server_by_id[m.server].host) == host]
        here = self.cluster.host_by_name[host]
        used: Counter[str] = Counter(here.held)
        for held in (*[s.resources for s in on], *[m.resources for m in flying]):
            used.update(held)
        over = {name: amount - (here.inventory[name].capacity if name in here.inventory else 0) for name, amount in used.items()}
        for group in self.cluster.groups:
            if group.policy == "anti-affinity":
                count = sum(s.id in group.members for s in on)
                count += sum(m.server in group.members and m.source != m.destination for m in flying)
                over[group.id] = count - group.max_server_per_host
        return {name: amount for name, amount in over.items() if amount > 0}

    def judge(self, host: str) -> None:
        """No excess that is greater than at the start."""
        for name, amount in self.excess(host).items():
            assert amount <= self.was[host].get(name, 0), f"{name} on {host}"


def run_at_random(cluster: Cluster, steps: tuple[Step, ...], chance: random.Random) -> Placement:
    """Start and end steps in random order, with no limit on how many run at once; returns where the servers end."""
    schedule = Schedule(cluster, steps)
    while len(schedule.ended) < len(steps):
        ready, running = schedule.ready(), sorted(schedule.running)
        assert ready or running, "the steps wait for each other"
        if ready and (not running or chance.random() < 0.7):
            schedule.start(chance.choice(ready))
        else:
            schedule.end(chance.choice(running))
    return schedule.where


def check_any_schedule(cluster: Cluster, seed: int) -> None:
    chance = random.Random(seed)
    rules = rules_of(cluster)
    target = wandered(cluster, rules, chance)
    moving = {server.id for server in cluster.servers if target[server.id] != server.host}
    priority = list(range(len(cluster.servers)))
    chance.shuffle(priority)
    found = ordered(cluster, target, rules, priority=priority)
    assert found == ordered(cluster, target, rules, priority=priority)

    left = {cluster.servers[s].id: (cluster.hosts[here].name, cluster.hosts[there].name) for s, here, there in found.left}
    assert all(pair == (cluster.server_by_id[one].host, target[one]) for one, pair in left.items())
    for n, step in enumerate(found.steps):
        assert all(parent < n for parent in step.parents)
    for _ in range(3):
        end = run_at_random(cluster, found.steps, chance)
        arrived = {one for one in moving if end[one] == target[one]}
        assert arrived | left.keys() == moving
        assert not arrived & left.keys()
        if not left:
            assert end == target


@settings(max_examples=150)
@given(tight(), st.integers(0, 10**6))
def test_any_schedule_of_a_tight_cluster_is_legal(cluster: Cluster, seed: int) -> None:
    check_any_schedule(cluster, seed)


@settings(max_examples=80)
@given(clusters(max_hosts=4, max_servers=8), st.integers(0, 10**6))
def test_any_schedule_of_any_cluster_is_legal(cluster: Cluster, seed: int) -> None:
    check_any_schedule(cluster, seed)


def reachable(cluster: Cluster, rules: list[Constraint], target: Placement) -> bool:
    """Whether any sequence of moves, one after the other and of any servers, leads to a placement; all are tried, and the checkers judge each."""
    rules = [rule for rule in rules if rule.continuous]
    start = tuple(server.host for server in cluster.servers)
    goal = tuple(target[server.id] for server in cluster.servers)
    seen, todo = {start}, [start]
    while todo:
        state = todo.pop()
        if state == goal:
            return True
        now = replace(cluster, servers=tuple(replace(s, host=host) for s, host in zip(cluster.servers, state, strict=True)))
        for n, server in enumerate(now.servers):
            for host in cluster.hosts:
                after = (*state[:n], host.name, *state[n + 1:])
                if after not in seen and not breaches(rules, now, {**placement_of(now), server.id: host.name}):
                    seen.add(after)
                    todo.append(after)
    return False


@settings(max_examples=150, deadline=None)
@given(tight().filter(lambda cluster: len(cluster.servers) <= 6), st.integers(0, 10**6))
def test_what_is_left_out_of_a_small_plan_cannot_be_ordered(cluster: Cluster, seed: int) -> None:
    rules = rules_of(cluster)
    target = wandered(cluster, rules, random.Random(seed))
    found = ordered(cluster, target, rules)
    assert not found.left or not reachable(cluster, rules, target)


def test_a_server_that_is_to_stay_steps_aside() -> None:
    """a0 and b0 change places; they fit on c alone, where c0 is, and d is large enough for c0 only."""
    cluster = full_hosts(full("a", 4), full("b", 4), full("c", 3), full("d", cpus=3))
    found = ordered(cluster, {**placement_of(cluster), "a0": "b", "b0": "a"})
    assert named(cluster, found.steps) == [("c0", "c", "d"), ("a0", "a", "c"), ("b0", "b", "a"), ("a0", "c", "b"), ("c0", "d", "c")]
    assert run_at_random(cluster, found.steps, random.Random(0)) == {"a0": "b", "b0": "a", "c0": "c"}
    assert ordered(cluster, {**placement_of(cluster), "a0": "b", "b0": "a"}, max_steps=4).left


# ---- parents


def test_where_there_is_room_nobody_waits() -> None:
    cluster = make_cluster([make_host("a"), make_host("b"), make_host("c")], [make_server(f"s{n}", "a", cpu_cores=0.1) for n in range(6)])
    found = ordered(cluster, {f"s{n}": "bc"[n % 2] for n in range(6)})
    assert len(found.steps) == 6
    assert all(step.parents == () for step in found.steps)
    assert found.left == ()


def full(name: str, *sizes: int, cpus: int = 4) -> Iterator[object]:
    yield make_host(name, vcpus=cpus)
    for n, size in enumerate(sizes):
        yield make_server(f"{name}{n}", name, vcpus=size, cpu_cores=0.0)


def full_hosts(*parts: Iterator[object]) -> Cluster:
    hosts, servers = [], []
    for part in parts:
        hosts.append(next(part))
        servers += list(part)
    return make_cluster(hosts, servers)


def test_a_chain_on_full_hosts_goes_from_its_end() -> None:
    cluster = full_hosts(full("a", 4), full("b", 4), full("c", 4), full("d"))
    found = ordered(cluster, {"a0": "b", "b0": "c", "c0": "d"})
    assert named(cluster, found.steps) == [("c0", "c", "d"), ("b0", "b", "c"), ("a0", "a", "b")]
    assert [step.parents for step in found.steps] == [(), (0,), (1,)]


def test_only_as_many_departures_are_waited_for_as_are_needed() -> None:
    cluster = full_hosts(full("a", 1, 1, 1, 1), full("b", 2), full("c", cpus=8))
    found = ordered(cluster, {"a0": "c", "a1": "c", "a2": "c", "a3": "c", "b0": "a"})
    last = next(step for step in found.steps if cluster.servers[step.server].id == "b0")
    assert len(last.parents) == 2


def test_a_great_departure_makes_a_small_one_before_it_dispensable() -> None:
    cluster = full_hosts(full("a", 1, 3), full("b", 3), full("c", cpus=8))
    found = ordered(cluster, {"a0": "c", "a1": "c", "b0": "a"})
    last = next(step for step in found.steps if cluster.servers[step.server].id == "b0")
    assert [cluster.servers[found.steps[parent].server].id for parent in last.parents] == ["a1"]


def test_members_kept_apart_are_never_on_one_host_in_passing() -> None:
    cluster = make_cluster([make_host(name) for name in "abc"], [make_server("s", "a", cpu_cores=0), make_server("t", "b", cpu_cores=0)],
                           groups=(make_group("anti-affinity", "s", "t"),))
    found = ordered(cluster, {"s": "b", "t": "c"})
    assert named(cluster, found.steps) == [("t", "b", "c"), ("s", "a", "b")]
    assert found.steps[1].parents == (0,)


def test_a_group_that_may_share_does_not_wait() -> None:
    cluster = make_cluster([make_host(name) for name in "abc"], [make_server("s", "a", cpu_cores=0), make_server("t", "b", cpu_cores=0)],
                           groups=(make_group("anti-affinity", "s", "t", max_server_per_host=2),))
    assert all(step.parents == () for step in ordered(cluster, {"s": "b", "t": "c"}).steps)


def test_what_a_migration_of_others_holds_is_not_given_away() -> None:
    hosts = [make_host("a", vcpus=2), make_host("b", vcpus=2), make_host("c", vcpus=4)]
    servers = [make_server("s", "a", vcpus=2, cpu_cores=0), make_server("t", "b", vcpus=1, cpu_cores=0), make_server("f", "c", cpu_cores=0)]
    cluster = make_cluster(hosts, servers, migrations=(in_flight("f", "c", "b", VCPU=1),))
    rules = [Capacity()]
    assert breaches(rules, cluster, {"s": "b", "t": "a", "f": "c"}) != []
    found = ordered(cluster, {"s": "c", "t": "a", "f": "c"}, rules)
    assert named(cluster, found.steps) == [("s", "a", "c"), ("t", "b", "a")]
    assert found.steps[1].parents == (0,)


def test_a_member_that_others_migrate_counts_where_it_goes() -> None:
    cluster = make_cluster([make_host(name) for name in "abcd"], [make_server(s, h, cpu_cores=0) for s, h in zip("stf", "abc", strict=True)],
                           groups=(make_group("anti-affinity", "s", "t", "f", max_server_per_host=2),), migrations=(in_flight("f", "c", "b"),))
    found = ordered(cluster, {"s": "b", "t": "d", "f": "c"})
    assert named(cluster, found.steps) == [("t", "b", "d"), ("s", "a", "b")]
    assert found.steps[1].parents == (0,)


def test_who_arrives_waits_for_room_for_the_growth_of_those_that_stay() -> None:
    cluster = full_hosts(full("a", 3, 3, cpus=8), full("b", 2), full("c", cpus=8))
    target = {"a0": "c", "a1": "a", "b0": "a"}
    assert all(step.parents == () for step in ordered(cluster, target, [Capacity()]).steps)
    found = ordered(cluster, target, [Capacity(), Preserve({"a1": {"VCPU": 5}})])
    assert named(cluster, found.steps) == [("a0", "a", "c"), ("b0", "b", "a")]
    assert found.steps[1].parents == (0,)


def test_a_large_cloud_with_thousands_of_groups_is_ordered_in_seconds() -> None:
    hosts, groups = 2001, 3000
    servers = [make_server(f"s{n}", f"h{n % hosts}", cpu_cores=0) for n in range(3 * groups)]
    cluster = make_cluster([make_host(f"h{n}", vcpus=16, disk_gb=200) for n in range(hosts)], servers)
    rules = [Capacity(), *(AntiAffinity(f"g{n}", (f"s{n}", f"s{n + groups}", f"s{n + 2 * groups}")) for n in range(groups))]
    target = {s.id: f"h{(n + 1) % hosts}" if n % 3 == 0 else s.host for n, s in enumerate(servers)}
    begin = time.process_time()
    found = ordered(cluster, target, rules)
    assert (len(found.steps), found.left) == (groups, ())
    assert time.process_time() - begin < 10  # about half a second


# ---- swaps and stops


def test_a_swap_on_full_hosts_stops_on_a_third() -> None:
    cluster = full_hosts(full("a", 4), full("b", 4), full("c"))
    found = ordered(cluster, {"a0": "b", "b0": "a"})
    assert named(cluster, found.steps) == [("a0", "a", "c"), ("b0", "b", "a"), ("a0", "c", "b")]
    assert [step.parents for step in found.steps] == [(), (0,), (0, 1)]
    assert found.left == ()


def test_a_swap_without_a_third_host_is_left_out() -> None:
    cluster = full_hosts(full("a", 4), full("b", 4), full("c", 1))
    found = ordered(cluster, {"a0": "b", "b0": "a", "c0": "c"})
    assert found.steps == ()
    assert found.left == ((0, 0, 1), (1, 1, 0))


@pytest.mark.parametrize("third", [{"status": "disabled"}, {"state": "down"}])
def test_a_third_host_that_takes_nobody_is_no_stop(third: dict[str, str]) -> None:
    cluster = full_hosts(full("a", 4), full("b", 4), full("c"))
    closed = replace(cluster, hosts=(*cluster.hosts[:2], replace(cluster.hosts[2], **third)))
    assert ordered(closed, {"a0": "b", "b0": "a"}).steps == ()
    rules = [replace(rule, closed=frozenset("c")) if isinstance(rule, Available) else rule for rule in rules_of(cluster)]
    assert ordered(cluster, {"a0": "b", "b0": "a"}, rules).steps == ()


def test_a_stop_obeys_what_one_server_may_take() -> None:
    cluster = full_hosts(full("a", 4), full("b", 4), full("c"))
    small = replace(cluster.hosts[2], inventory={**cluster.hosts[2].inventory, "VCPU": Inventory(total=8, max_unit=3)})
    assert ordered(replace(cluster, hosts=(*cluster.hosts[:2], small)), {"a0": "b", "b0": "a"}).steps == ()


@pytest.mark.parametrize(("room", "steps"), [(2, 0), (3, 0), (4, 4)])
def test_stops_that_lead_nowhere_are_not_made(room: int, steps: int) -> None:
    cluster = full_hosts(full("a", 4), full("b", 2, 2), full("c", cpus=room))
    found = ordered(cluster, {"a0": "b", "b0": "a", "b1": "a"}, priority=[1, 2, 0])
    assert len(found.steps) == steps
    assert len(found.left) == (0 if steps else 3)


def test_two_small_ones_stop_where_the_great_one_does_not_fit() -> None:
    cluster = full_hosts(full("a", 4), full("b", 2, 2), full("c", cpus=2), full("d", cpus=2))
    found = ordered(cluster, {"a0": "b", "b0": "a", "b1": "a"})
    assert {(one, to) for one, _, to in named(cluster, found.steps)} >= {("a0", "b"), ("b0", "a"), ("b1", "a")}
    assert len(found.steps) == 5
    assert found.left == ()


def test_the_stop_is_for_whom_it_helps() -> None:
    """x waits for ever, and must not take the only third place from the pair that could change places."""
    cluster = full_hosts(full("x", 2, cpus=2), full("y", 3, cpus=3), full("a", 2, cpus=2), full("b", 2, cpus=2), full("c", cpus=2))
    target = {"x0": "y", "y0": "y", "a0": "b", "b0": "a"}
    found = ordered(cluster, target, priority=[0, 1, 2, 3])
    assert {cluster.servers[s].id for s, _, _ in found.left} == {"x0"}
    assert len(found.steps) == 3


def test_a_server_that_cannot_go_on_does_not_stop_in_vain() -> None:
    cluster = full_hosts(full("a", 2, cpus=2), full("b", 3, cpus=3), full("c", cpus=2))
    found = ordered(cluster, {"a0": "b", "b0": "a"}, [Capacity()], priority=[0, 1])
    assert found.steps == ()
    assert {s for s, _, _ in found.left} == {0, 1}


def test_members_of_a_tied_group_make_no_stop() -> None:
    cluster = replace(full_hosts(full("a", 4), full("b", 4), full("c")), groups=(make_group("soft-affinity", "a0", "b0"),))
    assert ordered(cluster, {"a0": "b", "b0": "a"}).steps == ()


def test_members_of_a_group_inside_a_set_of_hosts_make_no_stop() -> None:
    cluster = full_hosts(full("a", 4), full("b", 4), full("c"))
    among = Among("g", ("a0", "b0"), (frozenset("ab"), frozenset("c")))
    assert ordered(cluster, {"a0": "b", "b0": "a"}, [Capacity(), among]).steps == ()


@pytest.mark.parametrize(("limit", "steps"), [(None, 3), (3, 3), (2, 0)])
def test_a_stop_counts_as_a_move(limit: int | None, steps: int) -> None:
    cluster = full_hosts(full("a", 4), full("b", 4), full("c"))
    found = ordered(cluster, {"a0": "b", "b0": "a"}, max_steps=limit)
    assert len(found.steps) == steps
    assert len(found.left) == (0 if steps else 2)


def test_the_most_wanted_goes_first() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server(f"s{n}", "a", cpu_cores=0) for n in range(3)])
    found = ordered(cluster, {f"s{n}": "b" for n in range(3)}, priority=[2, 0, 1])
    assert [step.server for step in found.steps] == [2, 0, 1]


def test_nothing_to_move() -> None:
    cluster = make_cluster([make_host("a")], [make_server("s", "a", cpu_cores=0)])
    assert ordered(cluster, {"s": "a"}) == Ordered((), ())
