"""Rules from a source to a plan that is carried out: each kind holds at the end, and where it says so, all the while."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import combinations, product
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasources.nova import PastMigration
from migrate.duration import TimeModel
from migrate.limits import Limits
from migrate.plan import MigrateInput, Plan, read_plan, write_plan
from optimizer.cluster import Aggregate, Cluster
from optimizer.constraints.base import check
from optimizer.constraints.movable import Movable
from optimizer.placement import Placement, placement_of
from optimizer.snapshot import write_snapshot
from placewright.apply import Outcome, apply_plan
from placewright.audit import run_audit
from placewright.policies import Rules, _involved, beyond, clashes, recalled, references, served, unmet, used_up, with_policy
from placewright.sources import SnapshotSource
from policy_sources import nova
from policy_sources.base import PolicyError, Rule, RuleSet, policy_of, rules_of
from policy_sources.vocabulary.kinds import KINDS
from policy_sources.vocabulary.selectors import Catalog, Hosts
from strategies.registry import strategy
from tests.support.clusters import LOAD, clusters, make_cluster, make_host, make_server

AT = "2026-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Said:
    """A source that says what it is told to."""

    rows: Sequence[dict[str, Any]]
    name: str = "test:rules"

    def read(self, cluster: Cluster) -> RuleSet:
        return RuleSet(self.name, rules_of(self.name, [(f"rule {n}", row) for n, row in enumerate(self.rows, 1)], "r1"), AT, "r1")


def rules(cluster: Cluster, *rows: dict[str, Any]) -> Rules:
    said = Said(rows).read(cluster)
    return Rules((said,), policy_of(Catalog(cluster), said.rules))


def ids(*names: str) -> dict[str, Any]:
    return {"id": list(names)}


def hosts(*names: str) -> dict[str, Any]:
    return {"name": list(names)}


def small(**fields: Any) -> Cluster:
    """Six hosts in three zones and two racks; five servers on a, the last one of them larger, two on b, one on c."""
    zones = {"a": "x", "b": "x", "c": "y", "d": "y", "e": "z", "f": "z"}
    racks = [Aggregate(id=str(n), name=f"rack-{n}", metadata={"rack": f"r{n}"}) for n in (1, 2)]
    on = {"a": 5, "b": 2, "c": 1}
    servers = [make_server(f"{host}{n}", host, vcpus=3 if n == 4 else 1, cpu_cores=0.5 + n / 10, tags=("t",) if n == 0 else (),
                           metadata={"app": host})
               for host, count in on.items() for n in range(count)]
    return make_cluster([make_host(name, zone=zone, aggregates=("1" if name in "ace" else "2",)) for name, zone in zones.items()], servers,
                        aggregates=tuple(racks), load=LOAD, **fields)


BROKEN: dict[str, dict[str, Any]] = {
    "together": {"servers": ids("a0", "b0", "c0")},
    "apart": {"servers": ids("a0", "a1", "a2", "b0")},
    "spread": {"servers": ids("a0", "a1", "b0"), "across": "zone"},
    "near": {"servers": ids("a0", "a1"), "needs": ids("c0"), "within": "zone"},
    "on": {"servers": ids("a0", "b0"), "hosts": hosts("d", "e")},
    "not_on": {"servers": ids("a0", "a1", "c0"), "hosts": hosts("a", "c")},
    "exclusive": {"hosts": hosts("a"), "servers": ids("a0", "a1")},
    "evacuate": {"hosts": hosts("a", "b")},
    "cap": {"hosts": hosts("a", "b"), "resource": "VCPU", "percent": 25},
    "spare": {"hosts": hosts("a", "b")},
}
"""A statement of each kind that small() breaks."""


def broken(cluster: Cluster, row: dict[str, Any]) -> float:
    """How much of a rule is broken, from what it says."""
    servers = {one: cluster.server_by_id[one].host for one in row.get("servers", {}).get("id", ())}
    named = set(row.get("hosts", {}).get("name", ()))
    on, zone = list(servers.values()), {host.name: host.zone for host in cluster.hosts}
    match row["rule"]:
        case "together":
            return len(set(on)) - 1
        case "apart":
            return sum(max(0, on.count(host) - row.get("max_per_host", 1)) for host in set(on))
        case "spread":
            return max(0, min(len(on), len(set(zone.values()))) - len({zone[host] for host in on}))
        case "near":
            needs = {zone[cluster.server_by_id[one].host] for one in row["needs"]["id"]}
            return sum(zone[host] not in needs for host in on)
        case "on":
            return sum(host not in named for host in on)
        case "not_on":
            return sum(host in named for host in on)
        case "exclusive":
            return sum(server.host in named and server.id not in servers for server in cluster.servers)
        case "evacuate":
            return sum(server.host in named for server in cluster.servers)
        case "spare":
            used = [server for server in cluster.servers if server.host in named]
            rooms = {"VCPU": 8, "MEMORY_MB": 16384, "DISK_GB": 100}  # of one host, as the other may fail
            return sum(max(0, sum(one.resources[name] for one in used) - room) / room for name, room in rooms.items())
        case "cap":
            used = [sum(server.resources["VCPU"] for server in cluster.servers if server.host == host) for host in named]
            return sum(max(0, one - 2) for one in used) / 8
    raise AssertionError(row)


@dataclass
class Site:
    """A snapshot file, audited and acted on."""

    path: Any
    cluster: Cluster

    def audit(self, *rows: dict[str, Any], name: str = "repair", **given: Any) -> Plan:
        write_snapshot(self.cluster, self.path)
        return run_audit(SnapshotSource(self.path), strategy(name), given, policies=(Said(rows),), max_moves=None, time_limit_s=20, seed=0, threads=1,
                         model=TimeModel(), say=lambda text: None)

    def apply(self, plan: Plan, advised: bool = False) -> Outcome:
        done = apply_plan(plan, SnapshotSource(self.path), limits=Limits(), model=TimeModel(), max_age_s=60, advised=advised, seed=0, pace=0,
                          report=lambda event: None, confirm=lambda cluster: True)
        assert done is not None
        return done


@pytest.fixture
def site(tmp_path: Any) -> Site:
    return Site(tmp_path / "s.json", small())


def states(cluster: Cluster, plan: Plan) -> Iterator[Placement]:
    """The placements after each move, in the order of the plan."""
    placement = dict(placement_of(cluster))
    for action in plan.actions:
        what = action.input_parameters
        assert isinstance(what, MigrateInput)
        placement[what.resource_id] = what.destination_node
        yield dict(placement)


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_what_is_broken_is_repaired_with_the_fewest_moves(site: Site, kind: str) -> None:
    row = {"rule": kind, **BROKEN[kind]}
    assert broken(site.cluster, row) > 0
    plan = site.audit(row)
    assert (plan.levels[0].value, plan.levels[0].gap, plan.status) == (0.0, 0.0, "optimal")
    assert len(plan.actions) == fewest(site.cluster, row)
    assert all(action.policy == ("test:rules rule 1 (revision r1)",) for action in plan.actions)
    assert all(action.reason == "test:rules rule 1 (revision r1) is broken, and holds after it" for action in plan.actions)
    lasting = [rule for rule in policy_of(Catalog(site.cluster), Said([row]).read(site.cluster).rules).constraints if rule.continuous]
    for placement in states(site.cluster, plan):
        assert [found for found in check(lasting, site.cluster, placement) if not found.inherited] == []
    outcome = site.apply(plan)
    assert outcome.report.counts == {"SUCCEEDED": len(plan.actions)}
    assert broken(outcome.after, row) == 0
    assert outcome.broken == ()
    again = Site(site.path, outcome.after).audit(row)
    assert (again.state, again.actions) == ("SUCCEEDED", ())


def fewest(cluster: Cluster, row: dict[str, Any]) -> int:
    """The fewest moves after which a rule holds, by trying; there is room for all servers everywhere."""
    names = [host.name for host in cluster.hosts]
    for count in range(len(cluster.servers) + 1):
        for some in combinations(range(len(cluster.servers)), count):
            for there in product(names, repeat=count):
                servers = list(cluster.servers)
                for number, host in zip(some, there, strict=True):
                    servers[number] = replace(servers[number], host=host)
                if broken(cluster.with_servers(tuple(servers)), row) == 0:
                    return count
            if count > 3:  # seven servers leave two hosts for any four others: each has to
                break
        if row["rule"] == "evacuate":
            return sum(server.host in row["hosts"]["name"] for server in cluster.servers)
    raise AssertionError(row)


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_a_wish_costs_its_weight(site: Site, kind: str) -> None:
    row = {"rule": kind, **BROKEN[kind], "should": 2.5}
    problem = with_policy(strategy("repair").problem(site.cluster, nova.constraints(site.cluster), strategy("repair").parameters(), None),
                          rules(site.cluster, row).policy)
    assert problem.values(placement_of(site.cluster))[0] == pytest.approx(2.5 * broken(site.cluster, row))
    assert site.audit(row).levels[0].value == 0


@pytest.mark.parametrize("kind", sorted({*BROKEN} - {"together", "spread", "near"}))
def test_what_must_hold_is_never_broken_for_a_goal(site: Site, kind: str) -> None:
    """Load is levelled to the last under a rule that holds already."""
    row = {"rule": kind, **BROKEN[kind]}
    plan = site.audit(row, name="workload_stabilization", aggressiveness=5)
    last = list(states(site.cluster, plan))[-1]
    after = site.cluster.with_servers(tuple(replace(server, host=last[server.id]) for server in site.cluster.servers))
    assert broken(after, row) == 0
    again = Site(site.path, after).audit(row, name="workload_stabilization", aggressiveness=5)
    assert all(broken(after.with_servers(tuple(replace(one, host=placement[one.id]) for one in after.servers)), row) == 0
               for placement in states(after, again))


@pytest.mark.parametrize(("row", "moved"), [
    ({"rule": "keep", "servers": {"tag": "t"}}, set()), ({"rule": "automation", "servers": {"tag": "t"}, "level": "off"}, set()),
    ({"rule": "no_live_migration", "servers": {"tag": "t"}}, {"cold"}), ({"rule": "no_cold_migration", "servers": {"tag": "t"}}, {"live"}),
])
def test_rules_about_moving(site: Site, row: dict[str, Any], moved: set[str]) -> None:
    plan = site.audit({"rule": "evacuate", "hosts": hosts("a", "b", "c")}, row)
    kinds = {action.input_parameters.migration_type for action in plan.actions  # type: ignore[union-attr]
             if action.input_parameters.resource_id in ("a0", "b0", "c0")}
    assert kinds == moved
    assert len(plan.actions) == (8 if moved else 5)
    assert bool(plan.clashes) == (not moved)


def test_quarantine_keeps_arrivals_away_and_nobody_else(site: Site) -> None:
    row = {"rule": "quarantine", "hosts": hosts("a", "d", "e", "f")}
    plan = site.audit({"rule": "evacuate", "hosts": hosts("b")}, row)
    assert {action.hosts[1] for action in plan.actions} == {"c"}
    assert site.audit(row).actions == ()


def test_advice_is_shown_and_carried_out_only_when_asked_for(site: Site) -> None:
    rows = ({"rule": "evacuate", "hosts": hosts("b")}, {"rule": "automation", "servers": ids("b0"), "level": "advise"})
    plan = site.audit(*rows)
    assert {action.input_parameters.resource_id: action.advised for action in plan.actions} == {"b0": "test:rules rule 2 (revision r1)", "b1": None}
    outcome = site.apply(plan)
    assert {done.action.input_parameters.resource_id: done.state for done in outcome.report.actions} == {"b0": "SKIPPED", "b1": "SUCCEEDED"}
    assert "test:rules rule 2 (revision r1) allows advice only" in next(done.text for done in outcome.report.actions if done.state == "SKIPPED")
    assert site.apply(plan, advised=True).report.counts == {"SUCCEEDED": 2}


@pytest.mark.parametrize(("hours", "state"), [("* *", "SUCCEEDED"), ("0 0", "SKIPPED")])
def test_outside_its_window_a_server_stays(site: Site, hours: str, state: str) -> None:
    """The window of a day that is not today, and one that is always open."""
    day = "*" if state == "SUCCEEDED" else str((datetime.now(UTC).month + 5) % 12 + 1)
    cron = f"{hours} 1 {day} *" if day != "*" else "* * * * *"
    rows = ({"rule": "evacuate", "hosts": hosts("b")}, {"rule": "window", "servers": ids("b0"), "cron": cron, "minutes": 60})
    plan = site.audit(*rows)
    assert len(plan.actions) == 2
    done = {one.action.input_parameters.resource_id: one for one in site.apply(plan).report.actions}
    assert (done["b0"].state, done["b1"].state) == (state, "SUCCEEDED")
    assert state == "SUCCEEDED" or "test:rules rule 2 (revision r1) opens its next window at" in done["b0"].text


@dataclass
class Remembering:
    """A source that knows how long ago servers were moved, in hours; all from host f to host e."""

    now: Cluster
    moved: dict[str, list[float]]

    def cluster(self) -> Cluster:
        return self.now

    def with_load(self, cluster: Cluster, need: Any) -> Cluster:
        return cluster

    def history(self, since: datetime) -> list[PastMigration]:
        now = datetime.now(UTC)
        return [PastMigration(server, "f", "e", "live-migration", now, now - timedelta(hours=one))
                for server, hours in self.moved.items() for one in hours]


@pytest.mark.parametrize(("moves", "hours", "past", "stays"), [
    (1, 24, [], False), (1, 24, [2.0], True), (1, 24, [25.0], False), (2, 24, [2.0], False), (2, 24, [2.0, 3.0], True), (2, 2.5, [2.0, 3.0], False)])
def test_a_server_is_moved_only_so_often(moves: int, hours: float, past: list[float], stays: bool) -> None:
    rows = ({"rule": "evacuate", "hosts": hosts("b")}, {"rule": "budget", "servers": ids("b0"), "moves": moves, "hours": hours})
    plan = run_audit(Remembering(small(), {"b0": past, "b1": [1.0]}), strategy("repair"), {}, policies=(Said(rows),), max_moves=None, time_limit_s=20,
                     seed=0, threads=1, model=TimeModel(), say=lambda text: None)
    assert ({action.input_parameters.resource_id for action in plan.actions} == {"b1"}) == stays
    assert not stays or any(f"test:rules rule 2 (revision r1) allows {moves} move{'s' if moves > 1 else ''} in {hours:g} h; {moves} made" in one.text
                            for one in plan.refused)


def test_every_budget_that_is_used_up_is_told() -> None:
    rows = [{"rule": "evacuate", "hosts": hosts("b")},
            *({"rule": "budget", "servers": ids("b0"), "moves": moves, "hours": hours} for moves, hours in ((1, 4), (2, 24), (3, 24)))]
    plan = run_audit(Remembering(small(), {"b0": [2.0, 3.0]}), strategy("repair"), {}, policies=(Said(rows),), max_moves=None, time_limit_s=20,
                     seed=0, threads=1, model=TimeModel(), say=lambda text: None)
    told = " ".join(one.text for one in plan.refused if one.server == "b0")
    assert "1 move in 4 h; 2 made" in told
    assert "2 moves in 24 h; 2 made" in told
    assert "3 moves" not in told


@pytest.mark.parametrize(("row", "all_move"), [
    ({"hosts": hosts("a"), "moves": 2}, False),
    ({"hosts": hosts("a"), "moves": 9}, True),
    ({"hosts": hosts("f"), "moves": 1}, True),  # used up by the past: nobody comes there, and there are other hosts
    ({"hosts": {"name": "[b-f]"}, "moves": 1}, False),
])
def test_a_host_takes_part_in_so_many_moves(row: dict[str, Any], all_move: bool) -> None:
    """Five servers are to leave a."""
    rows = ({"rule": "evacuate", "hosts": hosts("a")}, {"rule": "budget", "hours": 24, **row})
    plan = run_audit(Remembering(small(), {"gone": [1.0]}), strategy("repair"), {}, policies=(Said(rows),), max_moves=None, time_limit_s=20, seed=0,
                     threads=1, model=TimeModel(), say=lambda text: None)
    ends = Counter(host for action in plan.actions for host in action.hosts)
    used = Counter({"e": 1, "f": 1})
    assert all(ends[host] <= max(0, row["moves"] - used[host]) for host in Catalog(small()).hosts(Hosts(**row["hosts"])))
    left_out = [one for one in plan.refused if one.rule == "order"]
    assert (len(plan.actions) == 5) == all_move
    assert bool(left_out) != all_move
    assert all("rule 2 (revision r1) allows no more moves to and from" in one.text and "rule 2" in one.origin for one in left_out)


def test_a_host_that_has_used_up_its_moves_meanwhile_is_left_alone() -> None:
    """Three servers are to go to e; between plan and application others moved two servers to it."""
    rows = ({"rule": "on", "servers": ids("a0", "a1", "a2"), "hosts": hosts("e")},
            {"rule": "budget", "hours": 24, "hosts": hosts("d", "e"), "moves": 4})
    plan = run_audit(Remembering(small(), {}), strategy("repair"), {}, policies=(Said(rows),), max_moves=None, time_limit_s=20, seed=0,
                     threads=1, model=TimeModel(), say=lambda text: None)
    assert len(plan.actions) == 3
    spent = used_up(recalled(plan.policies, small()).policy, small(), Remembering(small(), {"gone": [1.0, 2.0]}), datetime.now(UTC))
    assert {host: moves for host, (moves, _) in spent.host_moves.items()} == {"d": 4, "e": 2}
    (rule,) = beyond(plan, spent.host_moves, small())
    assert isinstance(rule, Movable)
    assert list(rule.obstacles) == [plan.actions[-1].input_parameters.resource_id]
    assert beyond(plan, {"e": (3, "")}, small()) == []


@pytest.mark.parametrize(("where", "left"), [("a", {"d": 2, "e": 3}), ("d", {"d": 1, "e": 3}), ("e", {"d": 0, "e": 2})])
def test_a_plan_that_goes_on_does_not_count_twice_what_it_has_moved(where: str, left: dict[str, int]) -> None:
    """Three servers go to e, the first by way of d; what is left of the budgets is just enough for what is still to come."""
    rows = ({"rule": "on", "servers": ids("a0", "a1", "a2"), "hosts": hosts("e")},)
    plan = run_audit(Remembering(small(), {}), strategy("repair"), {}, policies=(Said(rows),), max_moves=None, time_limit_s=20, seed=0,
                     threads=1, model=TimeModel(), say=lambda text: None)
    first = plan.actions[0].input_parameters
    assert isinstance(first, MigrateInput)
    stop, on = (replace(plan.actions[0], uuid=name, input_parameters=replace(first, **ends))
                for name, ends in (("stop", {"destination_node": "d"}), ("on", {"source_node": "d"})))
    plan = replace(plan, actions=(stop, on, *plan.actions[1:]))
    now = small().with_servers(tuple(replace(one, host=where) if one.id == first.resource_id else one for one in small().servers))
    assert beyond(plan, {host: (moves, "") for host, moves in left.items()}, now) == []
    for host, moves in left.items():
        short = {**left, host: moves - 1}
        assert bool(beyond(plan, {one: (number, "") for one, number in short.items()}, now)) == (moves > 0)


def test_a_snapshot_does_not_know_the_past(site: Site) -> None:
    plan = site.audit({"rule": "evacuate", "hosts": hosts("b")}, {"rule": "budget", "servers": {"name": "*"}, "hours": 24})
    assert len(plan.actions) == 2
    assert any("what was moved before is not known from a snapshot" in note for note in plan.notes)


def test_the_plan_carries_its_rules(site: Site, tmp_path: Any) -> None:
    """And holds moves against them when it is carried out, as the cluster is then."""
    rows = ({"rule": "evacuate", "hosts": hosts("b"), "why": "fan"}, {"rule": "apart", "servers": ids("b0", "b1", "c0")},
            {"rule": "quarantine", "hosts": hosts("a")})
    plan = site.audit(*rows)
    write_plan(plan, tmp_path / "plan.json")
    kept = read_plan(tmp_path / "plan.json")
    assert kept == plan
    assert recalled(kept.policies, site.cluster) == rules(site.cluster, *rows)
    into = {action.input_parameters.resource_id: action.hosts[1] for action in plan.actions}
    crowded = site.cluster.with_servers(tuple(replace(one, host=into["b0"]) if one.id == "c0" else one for one in site.cluster.servers))
    outcome = Site(site.path, crowded)
    write_snapshot(crowded, site.path)
    done = {one.action.input_parameters.resource_id: one for one in outcome.apply(kept).report.actions}
    assert done["b0"].state == "SKIPPED"
    assert "test:rules rule 2 (revision r1)" in done["b0"].text


def test_a_rule_of_a_plan_that_nobody_knows(site: Site) -> None:
    plan = site.audit({"rule": "evacuate", "hosts": hosts("b")})
    (ref,) = plan.policies
    unknown = replace(ref, rules=(replace(ref.rules[0], statement={"rule": "levitate"}),))
    with pytest.raises(PolicyError, match="policy test:rules: rule 1: rule: 'levitate' is no kind of rule"):
        recalled([unknown], site.cluster)


def test_whoever_is_not_there_is_told(site: Site) -> None:
    plan = site.audit({"rule": "keep", "servers": {"name": "wbe-*"}}, {"rule": "evacuate", "hosts": {"zone": "north"}})
    assert plan.notes[:2] == ("test:rules rule 1 (revision r1) selects no server (name wbe-*).",
                              "test:rules rule 2 (revision r1) selects no host (zone north).")


def test_a_cap_on_load_needs_a_load(site: Site) -> None:
    row = {"rule": "cap", "hosts": {"name": "*"}, "resource": "cpu_load", "percent": 20}
    plan = site.audit(row, name="workload_stabilization", aggressiveness=5)
    cluster = site.cluster.with_servers(tuple(replace(one, host=list(states(site.cluster, plan))[-1][one.id]) for one in site.cluster.servers))
    assert all(sum(one.usage.cpu_cores for one in cluster.servers if one.usage and one.host == host.name) <= 1.6 for host in cluster.hosts)
    blind = site.cluster.with_servers(tuple(replace(one, usage=None) for one in site.cluster.servers))
    assert any("is not considered: it caps cpu_load, and no load was read" in note for note in Site(site.path, blind).audit(row).notes)


@pytest.mark.parametrize("kind", sorted(BROKEN))
def test_each_kind_of_wish_says_who_has_it(site: Site, kind: str) -> None:
    said = rules(site.cluster, {"rule": kind, **BROKEN[kind], "should": 2})
    found = list(unmet(site.cluster, said.policy, placement_of(site.cluster)))
    assert {origin for origin, _ in found} == {"test:rules rule 1 (revision r1)"}
    assert sum(price for _, price in found) == pytest.approx(2 * broken(site.cluster, {"rule": kind, **BROKEN[kind]}))


def test_what_should_hold_and_does_not_has_its_price(site: Site) -> None:
    rows = ({"rule": "together", "servers": ids("a0", "b0"), "should": 3}, {"rule": "on", "servers": ids("a0"), "hosts": hosts("a")},
            {"rule": "on", "servers": ids("b0"), "hosts": hosts("b")})
    plan = site.audit(*rows)
    assert plan.actions == ()
    assert [(one.rule, one.text, one.origin) for one in plan.refused if one.rule == "should"] == [
        ("should", "test:rules rule 1 (revision r1) does not hold; the price is 3", "test:rules rule 1 (revision r1)")]


@pytest.mark.parametrize(("rows", "expected"), [
    ([{"rule": "evacuate", "hosts": hosts("c")}, {"rule": "keep", "servers": {"metadata": {"app": "c"}}}], {1, 2}),
    ([{"rule": "evacuate", "hosts": hosts("c")}, {"rule": "keep", "servers": ids("c0")}], {1, 2}),
    ([{"rule": "on", "servers": ids("a0"), "hosts": hosts("d")}, {"rule": "on", "servers": ids("a0", "b0"), "hosts": hosts("e")},
      {"rule": "apart", "servers": ids("a0", "b0")}], {1, 2}),
    ([{"rule": "together", "servers": ids("a0", "b0")}, {"rule": "apart", "servers": {"name": "*0"}}, {"rule": "spread", "servers": ids("a0", "b0"),
                                                                                                         "across": "rack"}], {1, 2}),
    ([{"rule": "spread", "servers": ids("a0", "b0"), "across": "zone", "at_least": 3}], {1}),
    ([{"rule": "on", "servers": ids("a0", "a1", "b0"), "hosts": hosts("d", "e")}, {"rule": "apart", "servers": ids("a0", "a1", "b0")}], {1, 2}),
])
def test_clashes(site: Site, rows: list[dict[str, Any]], expected: set[int]) -> None:
    plan = site.audit(*rows)
    told = [set(clash.origins) for clash in plan.clashes]
    assert told == [{f"test:rules rule {n} (revision r1)" for n in expected}] or minimal(site.cluster, rows, plan)
    assert all("(should)" in clash.text for clash in plan.clashes)


def minimal(cluster: Cluster, rows: list[dict[str, Any]], plan: Plan) -> bool:
    """Whether the clash is one of several that are as small as can be."""
    (clash,) = plan.clashes
    chosen = [Said(rows).read(cluster).rules[int(origin.split()[2]) - 1] for origin in clash.origins]
    return not possible(cluster, chosen) and all(possible(cluster, [one for one in chosen if one is not left]) for left in chosen)


def possible(cluster: Cluster, chosen: Sequence[Rule]) -> bool:
    """Whether some legal placement breaks none of the rules, by trying all."""
    policy = policy_of(Catalog(cluster), chosen)
    constraints = (*nova.constraints(cluster), *policy.constraints)
    for there in product([host.name for host in cluster.hosts], repeat=len(cluster.servers)):
        placement = dict(zip((server.id for server in cluster.servers), there, strict=True))
        if all(term.objective.value(cluster, placement) == 0 for term in policy.broken) and not [
                found for found in check(constraints, cluster, placement) if not found.inherited]:
            return True
    return False


@st.composite
def some_rules(draw: st.DrawFn, cluster: Cluster) -> list[dict[str, Any]]:
    servers = [server.id for server in cluster.servers]
    names = [host.name for host in cluster.hosts]
    who = st.lists(st.sampled_from(servers), min_size=1, max_size=3, unique=True).map(lambda some: ids(*some))
    where = st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True).map(lambda some: hosts(*some))
    row = st.one_of(
        st.fixed_dictionaries({"rule": st.sampled_from(("together", "apart", "keep")), "servers": who}),
        st.fixed_dictionaries({"rule": st.sampled_from(("on", "not_on", "exclusive")), "servers": who, "hosts": where}),
        st.fixed_dictionaries({"rule": st.sampled_from(("evacuate", "quarantine")), "hosts": where}),
        st.fixed_dictionaries({"rule": st.just("near"), "servers": who, "needs": who, "within": st.just("host")}))
    return draw(st.lists(row, min_size=1, max_size=5))


@settings(max_examples=40)
@given(data=st.data())
def test_clashes_are_as_small_as_can_be(data: st.DataObject) -> None:
    """Against trying all placements: without any one of the rules the rest can hold, and a clash is only told where there is one."""
    cluster = data.draw(clusters(max_servers=4, max_hosts=3))
    if not cluster.servers:
        return
    said = rules(cluster, *data.draw(some_rules(cluster)))
    enforced = nova.constraints(cluster)
    repair = strategy("repair")
    problem = with_policy(repair.problem(cluster, [*enforced, *said.policy.constraints], repair.parameters(), None), said.policy)
    for clash in clashes(problem.cluster, enforced, said, placement_of(cluster), 0, 1):
        chosen = [rule for rule in said.rules if str(rule.origin) in clash.origins]
        assert not possible(cluster, chosen)
        parts = [cluster.with_servers(tuple(server for server in cluster.servers if server.id in involved))
                 for involved in _involved(cluster, said.policy, placement_of(cluster))]
        assert any(all(possible(part, [rule for rule in chosen if rule is not left]) for left in chosen) for part in parts)


def test_every_kind_is_tried_here() -> None:
    assert set(KINDS) == {*BROKEN, "keep", "automation", "no_live_migration", "no_cold_migration", "quarantine", "sensitivity", "window", "budget"}


def test_moves_of_servers_sensitive_to_latency_are_dear(site: Site) -> None:
    """The one that is told to be moves last, where the others do as well."""
    sensitive = {"rule": "sensitivity", "servers": ids("a4"), "property": "latency", "level": "high"}
    plain = site.audit(name="workload_stabilization", aggressiveness=5, thresholds={"instance_cpu_usage": 0.02})
    minded = site.audit(sensitive, name="workload_stabilization", aggressiveness=5, thresholds={"instance_cpu_usage": 0.02})
    assert "a4" in {action.input_parameters.resource_id for action in plain.actions}
    assert "a4" not in {action.input_parameters.resource_id for action in minded.actions}


def test_what_else_sensitivity_means(site: Site) -> None:
    def meant(prop: str, level: str) -> Rules:
        return rules(site.cluster, {"rule": "sensitivity", "servers": ids("a0", "a1", "b0"), "property": prop, "level": level})

    here = placement_of(site.cluster)
    assert list(unmet(site.cluster, meant("throughput", "high").policy, here)) == [("test:rules rule 1 (revision r1)", 5.0)]
    assert [price for _, price in unmet(site.cluster, meant("latency", "medium").policy, here)] == [1.0]
    assert [price for _, price in unmet(site.cluster, meant("availability", "low").policy, here)] == [pytest.approx(0.4)]
    assert [price for _, price in unmet(site.cluster, meant("cost", "medium").policy, here)] == [1.0]
    assert set(meant("availability", "high").policy.live_only) == {"a0", "a1", "b0"}
    assert meant("availability", "medium").policy.live_only == {}


def test_who_is_served(site: Site) -> None:
    said = rules(site.cluster, {"rule": "cap", "hosts": hosts("a"), "resource": "VCPU", "percent": 50},
                 {"rule": "on", "servers": ids("b0"), "hosts": hosts("c")})
    reached = {**placement_of(site.cluster), "a0": "d", "b0": "c", "b1": "c"}
    first, second = (f"test:rules rule {n} (revision r1)" for n in (1, 2))
    assert served(site.cluster, said.policy, reached) == {"a0": (first,), "b0": (second,)}


def test_references_leave_out_what_is_usual(site: Site) -> None:
    (ref,) = references(rules(site.cluster, {"rule": "apart", "servers": {"tag": "t"}, "max_per_host": 1}))
    assert ref.rules[0].statement == {"rule": "apart", "servers": {"tag": ["t"]}}
    assert (ref.source, ref.read_at, ref.revision, ref.rules[0].origin) == ("test:rules", AT, "r1", "rule 1")


@dataclass(frozen=True)
class Objector:
    """A policy that objects to servers on some hosts."""

    hosts: tuple[str, ...]
    name: str = "test:veto"

    def simulate(self, moves: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(text=f"error({move.server}, {move.destination})") for move in moves if move.destination in self.hosts]


def test_a_policy_objects_to_the_whole_plan(site: Site) -> None:
    row = {"rule": "evacuate", "hosts": hosts("b")}
    write_snapshot(site.cluster, site.path)

    def audit(*rows: dict[str, Any], veto: Objector) -> Plan:
        return run_audit(SnapshotSource(site.path), strategy("repair"), {}, policies=(Said(rows),), vetoes=(veto,), max_moves=None, time_limit_s=20,
                         seed=0, threads=1, model=TimeModel(), say=lambda text: None)

    assert len(audit(row, veto=Objector(())).actions) == 2
    plan = audit(row, {"rule": "on", "servers": ids("b0", "b1"), "hosts": hosts("d")}, veto=Objector(("d",)))
    assert (plan.state, plan.actions, plan.after) == ("SUCCEEDED", (), plan.before)
    assert plan.message == "No move is proposed: test:veto objects to the plan of 2 actions: error(b0, d); error(b1, d)."
    assert [(one.rule, one.text, one.origin) for one in plan.refused[:2]] == [("veto", f"error(b{n}, d)", "test:veto") for n in range(2)]
    assert audit(veto=Objector(("d",))).message == "No move is needed: the goal is met as it is."
