"""What came of a promise, in the words of the plan's own objective."""

from dataclasses import replace
from typing import Any

import pytest

from migrate.plan import MigrateInput, Plan
from optimizer.cluster import Cluster
from optimizer.problem import Problem
from placewright.goal import Achieved, achieved, goal_of, worth
from policy_sources.vocabulary.base import Policy
from strategies.registry import strategy
from tests.placewright.test_apply import Site, cluster_of, site
from tests.support.clusters import make_host, make_server

__all__ = ["site"]

GIVEN: dict[str, dict[str, Any]] = {"workload_stabilization": {"aggressiveness": 5}, "vm_workload_consolidation": {},
                                    "host_maintenance": {"maintenance_node": "a"}}


def wanted_by(plan: Plan, before: Cluster) -> Problem | None:
    parameters = strategy(plan.strategy).parameters.parse(plan.strategy, GIVEN[plan.strategy])
    return goal_of(plan, strategy(plan.strategy), parameters, Policy(), before)


def moves_of(plan: Plan) -> dict[str, str]:
    moves = (action.input_parameters for action in plan.actions)
    return {what.resource_id: what.destination_node for what in moves if isinstance(what, MigrateInput)}


def moved(to: dict[str, str]) -> Cluster:
    before = cluster_of()
    return before.with_servers(tuple(replace(server, host=to.get(server.id, server.host)) for server in before.servers))


def of(site: Site, name: str, done: float) -> tuple[Plan, Achieved | None]:
    """A plan for the cluster of the tests of apply, of which a share was carried out."""
    plan = site.audit(cluster_of(), name, **GIVEN[name])
    goal, moves = wanted_by(plan, cluster_of()), list(moves_of(plan).items())
    assert goal is not None
    return plan, achieved(goal, plan, moved(dict(moves[:round(done * len(moves))])))


@pytest.mark.parametrize("name", list(GIVEN))
def test_all_or_nothing(site: Site, name: str) -> None:
    for done, percent in ((1.0, 100.0), (0.0, 0.0)):
        plan, found = of(site, name, done)
        assert found is not None
        assert found.percent == pytest.approx(percent)
        assert found.promised == pytest.approx(plan.levels[0].value)


def test_a_part(site: Site) -> None:
    _, found = of(site, "host_maintenance", 0.5)
    assert found is not None
    assert (found.level, found.percent) == ("remaining", pytest.approx(50))


def test_worse_than_before(site: Site) -> None:
    plan, _ = of(site, "workload_stabilization", 1.0)
    goal = wanted_by(plan, cluster_of())
    assert goal is not None
    wanted = replace(plan, actions=(*plan.actions, replace(plan.actions[0], uuid="u", input_parameters=MigrateInput(
        resource_id="t", resource_name="t", migration_type="live", source_node="b", destination_node="c"))))
    found = achieved(goal, wanted, moved(dict.fromkeys(cluster_of().server_by_id, "a")))
    assert found is not None
    assert found.reached > found.before
    assert found.percent < 0


@pytest.mark.parametrize("name", ["workload_stabilization", "vm_workload_consolidation"])
def test_without_load_nothing_is_said(site: Site, name: str) -> None:
    plan = site.audit(cluster_of(), name, **GIVEN[name])
    assert wanted_by(plan, replace(cluster_of(), load=None)) is None


def test_what_the_strategy_did_not_plan_is_not_judged_by_it(site: Site) -> None:
    plan = site.audit(cluster_of(), "host_maintenance", **GIVEN["host_maintenance"])
    assert wanted_by(replace(plan, levels=()), cluster_of()) is None
    gone = cluster_of()
    assert wanted_by(plan, replace(gone, hosts=gone.hosts[1:], servers=gone.servers[4:])) is None
    goal = wanted_by(plan, cluster_of())
    assert goal is not None
    assert achieved(goal, replace(plan, actions=()), cluster_of()) is None


@pytest.mark.parametrize("name", list(GIVEN))
def test_every_move_of_a_plan_is_worth_it_while_the_others_are_to_come(site: Site, name: str) -> None:
    plan = site.audit(cluster_of(), name, **GIVEN[name])
    goal, to_come = wanted_by(plan, cluster_of()), moves_of(plan)
    assert goal is not None
    assert all(worth(goal, cluster_of(), to_come, server) for server in to_come)
    assert worth(goal, cluster_of(), {"new": "b"}, "new")


@pytest.mark.parametrize("name", list(GIVEN))
def test_a_move_to_a_host_that_has_gone_is_not_to_come(site: Site, name: str) -> None:
    """It will be skipped: what is worth it beside it is what is worth it without it."""
    plan = site.audit(cluster_of(), name, **GIVEN[name])
    goal, to_come = wanted_by(plan, cluster_of()), moves_of(plan)
    assert goal is not None
    for server in to_come:
        others = {one: host for one, host in to_come.items() if one == server}
        gone = {**dict.fromkeys(to_come, "gone"), **others}
        assert worth(goal, cluster_of(), gone, server) == worth(goal, cluster_of(), others, server)


@pytest.mark.parametrize("name", list(GIVEN))
def test_a_server_on_a_host_that_is_new_does_not_count(site: Site, name: str) -> None:
    """Hosts come while a plan is carried out, and somebody moves servers there: the report must not fail for it."""
    plan = site.audit(cluster_of(), name, **GIVEN[name])
    goal, to_come = wanted_by(plan, cluster_of()), moves_of(plan)
    assert goal is not None
    stray = next(server for server in cluster_of().server_by_id if server not in to_come or name == "host_maintenance")
    now = moved({stray: "new"})
    now = replace(now, hosts=(*now.hosts, make_host("new")))
    found = achieved(goal, plan, now)
    assert found is not None
    assert found.percent == pytest.approx(0)
    assert worth(goal, now, to_come, stray)


def test_a_host_that_cannot_be_emptied_any_more_need_not_be_left(site: Site) -> None:
    before = cluster_of()
    before = before.with_servers((*before.servers, make_server("u", "b", cpu_cores=0.5)))
    plan = site.audit(before, "vm_workload_consolidation")
    goal, to_come = wanted_by(plan, before), moves_of(plan)
    assert goal is not None
    assert to_come.keys() == {"t", "u"}
    assert not worth(goal, before, {"u": to_come["u"]}, "u")  # t has to stay
    there = before.with_servers(tuple(replace(one, host=to_come[one.id]) if one.id == "t" else one for one in before.servers))
    assert worth(goal, there, {"u": to_come["u"]}, "u")  # t has gone
    assert worth(goal, before.with_servers(tuple(one for one in before.servers if one.id != "t")), {"u": to_come["u"]}, "u")  # t is no more
