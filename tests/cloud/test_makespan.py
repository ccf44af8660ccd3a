"""How long a plan was expected to take, once times have been learned from Nova's records, and how long it takes."""

import os
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

import pytest
from openstack.connection import Connection

from datasources.gnocchi import GnocchiSettings
from datasources.inventory import read_cluster
from migrate.duration import TimeModel
from migrate.executor import Report
from migrate.limits import Limits
from migrate.plan import Plan
from migrate.planner import plan_steps
from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint, breaches
from optimizer.movability import ANY_WAY, obstacles
from optimizer.objectives.misplaced import Misplaced, Wish
from optimizer.placement import Placement, placement_of
from optimizer.problem import Problem, Term
from placewright.sources import CloudSource
from placewright.timing import learned
from policy_sources import nova
from tests.cloud import scenario
from tests.cloud.conftest import Cloud
from tests.cloud.direct import carried_out
from tests.cloud.scenario import Scenario
from tests.migrate import instances

MOVES = int(os.environ.get("PLACEWRIGHT_TEST_MOVES", "0"))
"""How many the plan has, 46 at most; docs/execution.md has what was found."""

TIMED = int(os.environ.get("PLACEWRIGHT_TEST_TIMED", "1"))
"""How many such plans, one after the other."""

_WITHIN = 0.15  # where migrations take long, as told in docs/execution.md, and the machine has nothing else to do
_LIMITS = Limits(poll_interval_s=0.5)
_MODEL = TimeModel(live_per_source=2)  # as the testbed's nova-compute has it


@dataclass(frozen=True)
class Mover:
    """Moves servers about at random, all of them but some."""

    connection: Connection
    chance: random.Random
    stay: Collection[str]

    def carry_out(self, moves: int, model: TimeModel, limits: Limits) -> tuple[Plan, Report]:
        """A plan of so many moves, and what came of it."""
        cluster = read_cluster(self.connection)
        rules = tuple(nova.constraints(cluster))
        wanted = self._target(cluster, rules, moves)
        wish = Misplaced(tuple(Wish((server,), frozenset({host}), True) for server, host in wanted.items()))
        steps = plan_steps(Problem(cluster, rules, ((Term(wish),),)), wanted, lambda after: (), lambda before, after, move: "", model, limits=limits)
        plan = instances.plan(*steps.actions)
        assert not steps.left_out
        report = carried_out(self.connection, cluster, plan, lambda seen: [rule for rule in nova.constraints(seen) if rule.continuous], limits)
        assert report.exit_code == 0, [done for done in report.actions if done.state != "SUCCEEDED"]
        return plan, report

    def handling_s(self, report: Report) -> float:
        """What a migration takes beyond its record in Nova: until it is begun, seen to be over, and verified."""
        beyond = []
        for done in report.actions:
            record = scenario.migrations(self.connection, done.action.input_parameters.resource_id)[0]
            begun, ended = (datetime.fromisoformat(record[key]) for key in ("created_at", "updated_at"))
            beyond.append((done.seconds or 0.0) - (ended - begun).total_seconds())
        return max(0.0, median(beyond))

    def _target(self, cluster: Cluster, rules: Sequence[Constraint], moves: int) -> Placement:
        """A legal placement in which so many servers are elsewhere; all of them move live."""
        here, wanted = placement_of(cluster), dict(placement_of(cluster))
        movable = [one.id for one in cluster.servers if one.id not in self.stay and not obstacles(cluster, one) and ANY_WAY.of(one) == "live"]
        hosts = [host.name for host in cluster.hosts]
        while moves:
            server, host = self.chance.choice(movable), self.chance.choice(hosts)
            if here[server] == wanted[server] != host and not breaches(rules, cluster, {**wanted, server: host}):
                wanted[server], moves = host, moves - 1
        return wanted


@pytest.mark.skipif(not MOVES, reason="a measure for a quiet machine: PLACEWRIGHT_TEST_MOVES=46")
def test_expected_and_measured(cloud: Cloud, fresh_scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of servers whose group keeps none apart: for two minutes Nova counts these on a host that they have left, which no timetable foresees."""
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(cloud.clouds_yaml))
    chance = random.Random(os.environ.get("PLACEWRIGHT_TEST_SEED", "0"))
    grouped = {member for role in ("anti-affinity", "two-per-host", "affinity") for member in fresh_scenario.members[role]}
    mover = Mover(cloud.connection, chance, grouped)
    mover.carry_out(MOVES, _MODEL, replace(_LIMITS, per_host=1))  # learned are the times of those that were alone
    _, report = mover.carry_out(MOVES, _MODEL, _LIMITS)  # and of those that shared a host
    found = []
    for number in range(TIMED):
        remembered = mover.handling_s(report) - _LIMITS.poll_interval_s / 2  # as the program has it from its journal
        cluster = read_cluster(cloud.connection)
        model, notes = learned(_MODEL, cluster, CloudSource("testbed", GnocchiSettings()), 1.0, {cluster.name: remembered}.__getitem__)
        assert notes, "nothing was learned"
        plan, report = mover.carry_out(MOVES, model, _LIMITS)
        assert plan.expected_s
        found.append(plan.expected_s / report.seconds - 1)
        print(f"plan {number}: {len(plan.actions)} moves, expected {plan.expected_s:.1f} s ({found[-1]:+.1%}), took {report.seconds:.1f} s; "
              f"{model.handling_s:.1f} s each besides. {notes[0]}")
    assert max(map(abs, found)) <= _WITHIN
