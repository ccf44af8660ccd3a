"""What came of a promise, in the words of the plan's own objective."""

from dataclasses import replace
from typing import Any

import pytest

from migrate.plan import MigrateInput, Plan
from placewright.achieved import Achieved, achieved
from policy_sources.vocabulary.base import Policy
from strategies.registry import strategy
from tests.placewright.test_apply import Site, cluster_of, site

__all__ = ["site"]

GIVEN: dict[str, dict[str, Any]] = {"workload_stabilization": {"aggressiveness": 5}, "vm_workload_consolidation": {},
                                    "host_maintenance": {"maintenance_node": "a"}}


def of(site: Site, name: str, done: float, load: bool = True) -> tuple[Plan, Achieved | None]:
    """A plan for the cluster of the tests of apply, of which a share was carried out."""
    before, given = cluster_of(), GIVEN[name]
    plan = site.audit(before, name, **given)
    moves = [action.input_parameters for action in plan.actions if isinstance(action.input_parameters, MigrateInput)]
    to = {what.resource_id: what.destination_node for what in moves[:round(done * len(moves))]}
    after = before.with_servers(tuple(replace(server, host=to.get(server.id, server.host)) for server in before.servers))
    parameters = strategy(name).parameters.parse(name, given)
    return plan, achieved(plan, strategy(name), parameters, Policy(), before if load else replace(before, load=None), after)


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
    before = cluster_of()
    crowded = before.with_servers(tuple(replace(server, host="a") for server in before.servers))
    wanted = replace(plan, actions=(*plan.actions, replace(plan.actions[0], uuid="u", input_parameters=MigrateInput(
        resource_id="t", resource_name="t", migration_type="live", source_node="b", destination_node="c"))))
    parameters = strategy(plan.strategy).parameters.parse(plan.strategy, GIVEN[plan.strategy])
    found = achieved(wanted, strategy(plan.strategy), parameters, Policy(), before, crowded)
    assert found is not None
    assert found.reached > found.before
    assert found.percent < 0


@pytest.mark.parametrize("name", ["workload_stabilization", "vm_workload_consolidation"])
def test_without_load_nothing_is_said(site: Site, name: str) -> None:
    assert of(site, name, 1.0, load=False)[1] is None


def test_what_the_strategy_did_not_plan_is_not_judged_by_it(site: Site) -> None:
    plan, _ = of(site, "host_maintenance", 1.0)
    parameters = strategy(plan.strategy).parameters.parse(plan.strategy, GIVEN[plan.strategy])
    for other in (replace(plan, levels=()), replace(plan, actions=())):
        assert achieved(other, strategy(plan.strategy), parameters, Policy(), cluster_of(), cluster_of()) is None
    gone = cluster_of()
    gone = replace(gone, hosts=gone.hosts[1:], servers=gone.servers[4:])
    assert achieved(plan, strategy(plan.strategy), parameters, Policy(), gone, gone) is None
