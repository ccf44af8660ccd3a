"""The simulator and Nova are given the same plans and the same requests: each has to end in the same way, and to leave the servers on the same hosts.

Plans go through the executor, which skips by itself most of what a cloud would refuse; requests go past it, so that Nova and the simulator decide.
"""

import os
import random
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import pytest
from openstack.connection import Connection

from datasources.inventory import read_cluster
from migrate.cloud import CallFailed, Cloud, NotNow, Outcome
from migrate.executor import execute
from migrate.journal import NoJournal
from migrate.limits import Limits
from migrate.nova import NovaCloud
from migrate.plan import Action, Plan
from migrate.precheck import arrival_breaches, migration_obstacle
from migrate.simulator import SimulatedCloud
from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint
from policy_sources import nova
from tests.cloud import conftest, scenario
from tests.cloud.direct import carried_out
from tests.cloud.scenario import Scenario
from tests.migrate.instances import move, plan, switch

REQUESTS = int(os.environ.get("PLACEWRIGHT_TEST_REQUESTS", "12"))
PLANS, MOVES = int(os.environ.get("PLACEWRIGHT_TEST_PLANS", "1")), 12
"""How many there are, and how many moves a plan has; docs/execution.md has the figures of a longer run."""

_LIMITS = Limits(poll_interval_s=0.5)
_FULL, _NOWHERE = "compute-6", "compute-99"
_LEFT_OUT = 0.8  # of the illegal moves: there are many more of them than of others


def rules_of_nova(cluster: Cluster) -> Sequence[Constraint]:
    """What Nova enforces; it lets an administrator move servers that are locked."""
    return [rule for rule in nova.constraints(cluster, move_locked=True) if rule.continuous]


def no_rules(cluster: Cluster) -> Sequence[Constraint]:
    """For an executor that leaves the judging to the cloud."""
    return []


@dataclass
class Dice:
    """Throws moves, legal and not, of servers of every kind; ``homes`` says where servers are, or were when they were deleted."""

    chance: random.Random
    kinds: Mapping[str, Sequence[str]]  # servers by what is special about them
    groups: Sequence[Collection[str]]  # that Nova keeps apart or together
    homes: dict[str, str]
    left: set[tuple[str, str]] = field(default_factory=set)  # a member of which group has left which host live
    thrown: int = 0

    def moves(self, ours: SimulatedCloud, *besides: str) -> Iterator[Action]:
        """One after the other, to one of the hosts or ``besides`` to such as there are not; about half of them legal at the moment."""
        hosts = [*(host.name for host in ours.cluster.hosts), *besides]
        while True:
            kind = self.chance.choice(sorted(self.kinds))
            server, destination, way = self.chance.choice(self.kinds[kind]), self.chance.choice(hosts), self.chance.choice(("live", "cold"))
            self.thrown += 1
            action = move(server, self.homes[server], destination, uuid=f"{self.thrown} {kind}", kind=way)
            what = action.input_parameters
            illegal = migration_obstacle(what, ours.cluster) or arrival_breaches(ours.cluster, what, rules_of_nova)
            if (illegal and self.chance.random() < _LEFT_OUT) or (kind, destination) in self.left:
                continue  # for two minutes Nova's scheduler counts a member on the host that it has left (NovaCloud.hold)
            if way == "live":
                self.left.add((kind, self.homes[server]))
            yield action

    def plan(self, ours: SimulatedCloud) -> Plan:
        """Moves, one a server, and a host that is closed and opened; actions that bear on one another come in order, however long each takes."""
        closed = self.chance.choice([host.name for host in ours.cluster.hosts])
        thrown = (action for action in self.moves(ours) if len(set(action.hosts)) == 2)  # others are no plan
        moves = {action.input_parameters.resource_id: action for action in islice(thrown, MOVES)}
        actions = [*moves.values(), switch(closed, "enabled")]
        actions.insert(self.chance.randrange(MOVES // 2), switch(closed, "disabled"))
        return plan(*(replace(one, parents=tuple(other.uuid for other in actions[:number] if self._meet(one, other)))
                      for number, one in enumerate(actions)))

    def _meet(self, one: Action, other: Action) -> bool:
        both = {one.input_parameters.resource_id, other.input_parameters.resource_id}
        return bool(set(one.hosts) & set(other.hosts)) or any(both <= set(group) for group in self.groups)


@pytest.fixture
def dice(cloud: conftest.Cloud, fresh_scenario: Scenario) -> Dice:
    """Of a scenario in which a host is full, another is closed, and servers are paused, suspended and deleted."""
    connection, compute = cloud.connection, cloud.connection.compute
    chance = random.Random(os.environ.get("PLACEWRIGHT_TEST_SEED", "0"))
    paused, suspended, gone = chance.sample(fresh_scenario.members["plain"], 3)
    homes = {server.id: server.host for server in read_cluster(connection).servers}
    compute.pause_server(paused)
    compute.suspend_server(suspended)
    scenario.delete_server(connection, gone)
    scenario.fill(connection, fresh_scenario, _FULL, left_mb=2048)
    scenario.disable_host(connection, chance.choice(("compute-2", "compute-4")))
    for server, status in ((paused, "PAUSED"), (suspended, "SUSPENDED")):
        compute.wait_for_server(compute.get_server(server), status, interval=0.3)
    members = fresh_scenario.members
    plain = [server for server in members["plain"] if server not in (paused, suspended, gone)]
    kinds = {**members, "plain": plain, "paused": (paused,), "suspended": (suspended,), "gone": (gone,)}
    return Dice(chance, kinds, [members[role] for role in fresh_scenario.groups], homes)


def test_the_simulator_does_what_nova_does(cloud: conftest.Cloud, dice: Dice) -> None:
    """Requests first, then plans."""
    differences = [*_of_requests(cloud.connection, dice), *_of_plans(cloud.connection, dice)]
    assert not differences, "\n".join(differences)


def _of_requests(connection: Connection, dice: Dice) -> Iterator[str]:
    """One after the other, straight to both clouds."""
    ours, endings = _simulated(connection), Counter[str]()
    theirs = NovaCloud(connection, lambda servers, hosts: ours.cluster)
    for action in islice(dice.moves(ours, _NOWHERE), REQUESTS):
        (there, words), here = _ending(theirs, action), _ending(ours, action)
        endings[there] += 1
        if there != here[0]:
            yield f"{action.uuid}: {action}: {there} in Nova ({words}), {here} in the simulator"
            ours.cluster = read_cluster(connection)  # so that the next ones have a chance
        dice.homes |= {server.id: server.host for server in ours.cluster.servers}
    print(f"{REQUESTS} requests: {dict(endings)}")
    yield from _misplaced(connection, ours)


def _ending(cloud: Cloud, action: Action) -> tuple[str, str]:
    """What becomes of an action that nobody judges before, and the cloud's words."""
    try:
        handle = cloud.start(action, cloud.prepare(action))
    except CallFailed as error:
        return "not now" if isinstance(error, NotNow) else "refused", str(error)
    while not isinstance(news := cloud.poll(handle), Outcome):
        cloud.pause(0.5)
    return "no valid host" if "no valid host" in news.text.lower().replace("novalidhost", "no valid host") else news.state, news.text


def _of_plans(connection: Connection, dice: Dice) -> Iterator[str]:
    """Through the executor, in turn with Nova's rules and without any."""
    for number in range(PLANS):
        rules = (rules_of_nova, no_rules)[number % 2]
        ours = _simulated(connection)
        some = dice.plan(ours)
        there = carried_out(connection, ours.cluster, some, rules, _LIMITS)
        here = execute(some, ours, rules, _LIMITS, lambda event: None, NoJournal())
        for one, other in zip(there.actions, here.actions, strict=True):
            if one.state != other.state:
                yield f"plan {number}: {one.action}: {one.state} in Nova ({one.text}), {other.state} in the simulator ({other.text})"
        print(f"plan {number} with {rules.__name__}: {there.counts}")
        yield from _misplaced(connection, ours)
        dice.homes |= {server.id: server.host for server in read_cluster(connection).servers}


def _simulated(connection: Connection) -> SimulatedCloud:
    """A simulator of the cloud as it is now."""
    return SimulatedCloud(read_cluster(connection), rules_of_nova)


def _misplaced(connection: Connection, ours: SimulatedCloud) -> Iterator[str]:
    """Servers that are not where the simulator has them, or in another status."""
    known = ours.cluster.server_by_id
    for one in read_cluster(connection).servers:
        if (one.host, one.status) != (known[one.id].host, known[one.id].status):
            yield f"{one.name} is {one.status} on {one.host}, in the simulator {known[one.id].status} on {known[one.id].host}"
