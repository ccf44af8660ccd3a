"""From a wanted placement to actions: reasons, benefits, costs, service changes, and the replay that refuses an unsafe order."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.duration import TimeModel, cost_of
from migrate.limits import Limits
from migrate.order import Step
from migrate.plan import Action, Cost, MigrateInput, ServiceStateInput
from migrate.planner import Steps, UnsafePlan, _scheduled, plan_steps, replay
from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint
from optimizer.movability import Ways
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.remaining import Remaining
from optimizer.objectives.spread import Spread
from optimizer.placement import Move, Placement, ServiceChange, placement_of
from optimizer.problem import Level, Problem, Term, better
from policy_sources import nova
from tests.migrate import instances
from tests.support.clusters import clusters, make_cluster, make_group, make_host, make_server, moved
from tests.support.small import tight, wandered

MODEL = TimeModel()
SPREAD: tuple[Level, ...] = ((Term(Spread("cpu")), Term(MoveCost(), 0.01)),)
HOSTS: tuple[Level, ...] = ((Term(HostsInUse()), Term(MoveCost(), 0.01)),)


def problem_of(cluster: Cluster, levels: tuple[Level, ...] = SPREAD, rules: Sequence[Constraint] | None = None,
               max_moves: int | None = None) -> Problem:
    return Problem(cluster, tuple(nova.constraints(cluster) if rules is None else rules), levels, max_moves)


def why(before: Placement, after: Placement, move: Move) -> str:
    return f"{move.server}: {list(before.values()).count(move.source)} on {move.source}, {list(after.values()).count(move.source)} in the end"


def steps_of(problem: Problem, wanted: Placement, changes: Sequence[ServiceChange] = (), **kinds: bool) -> Steps:
    return plan_steps(problem, wanted, lambda placement: changes, why, MODEL, **kinds)


def migrations(steps: Steps) -> list[tuple[str, str, str, str]]:
    return [(w.resource_id, w.source_node, w.destination_node, w.migration_type)
            for w in (action.input_parameters for action in steps.actions) if isinstance(w, MigrateInput)]


def heap(count: int = 3, hosts: str = "abc", **fields: object) -> Cluster:
    return make_cluster([make_host(name) for name in hosts], [make_server(f"s{n}", "a", cpu_cores=1.0) for n in range(count)], **fields)


# ---- the actions


def priced(action: Action) -> Cost:
    """Its cost, whenever it is expected."""
    return replace(action.cost, start_s=None, end_s=None)


def test_an_action_says_what_why_what_for_and_at_which_cost() -> None:
    cluster = heap()
    steps = steps_of(problem_of(cluster), moved(cluster, s0="b", s1="c"))
    assert migrations(steps) == [("s0", "a", "b", "live"), ("s1", "a", "c", "live")]
    assert [action.reason for action in steps.actions] == ["s0: 3 on a, 1 in the end", "s1: 2 on a, 1 in the end"]
    spread = Spread("cpu")
    start, middle, end = (spread.value(cluster, p) for p in (placement_of(cluster), moved(cluster, s0="b"), steps.placement))
    gains = [{"spread_cpu": pytest.approx(start - middle)}, {"spread_cpu": pytest.approx(middle - end)}]
    assert [action.benefit for action in steps.actions] == gains
    assert all(priced(action) == cost_of(cluster, cluster.servers[0], "live", MODEL) for action in steps.actions)
    assert steps.actions[0].cost.start_s == 0
    assert all(action.cost.end_s is not None for action in steps.actions)
    assert all(action.cost.copy_gb > 0 and action.cost.expected_s > MODEL.live_overhead_s for action in steps.actions)
    assert steps.placement == moved(cluster, s0="b", s1="c")
    assert steps.left_out == ()
    assert len({action.uuid for action in steps.actions}) == 2


def test_the_order_is_the_one_that_is_over_soonest_and_reasons_are_those_of_that_order() -> None:
    cluster = make_cluster([make_host(name) for name in "abcdef"], [make_server(f"s{n}", "a" if n < 2 else "b", cpu_cores=1.0) for n in range(4)])
    steps = plan_steps(problem_of(cluster), moved(cluster, s0="c", s1="d", s2="e", s3="f"), lambda placement: [], why, MODEL,
                       limits=Limits(total=2))
    assert [source for _, source, _, _ in migrations(steps)] in (["a", "b", "a", "b"], ["b", "a", "b", "a"])
    assert [action.reason.split(":")[1] for action in steps.actions] == [f" {n} on {host}, 0 in the end" for n, (_, host, _, _) in zip(
        (2, 2, 1, 1), migrations(steps), strict=True)]
    assert max(action.cost.end_s or 0 for action in steps.actions) == steps.least_s


def test_what_a_host_emptied_brings_is_shared_by_all_who_leave() -> None:
    cluster = heap(2)
    cluster = cluster.with_servers((*cluster.servers, make_server("t", "b", cpu_cores=0)))
    steps = steps_of(problem_of(cluster, HOSTS), moved(cluster, s0="b", s1="b"))
    assert [action.benefit for action in steps.actions] == [{"hosts_in_use": pytest.approx(1 / 6)}] * 2


@pytest.mark.parametrize(("status", "live", "cold", "kind"), [
    ("ACTIVE", True, True, "live"), ("ACTIVE", False, True, "cold"), ("SHUTOFF", True, True, "cold"), ("PAUSED", True, True, "live"),
])
def test_how_a_server_migrates(status: str, live: bool, cold: bool, kind: str) -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("s", "a", cpu_cores=1.0, status=status)])
    steps = steps_of(problem_of(cluster), {"s": "b"}, ways=Ways(live, cold))
    assert migrations(steps) == [("s", "a", "b", kind)]
    assert priced(steps.actions[0]) == cost_of(cluster, cluster.servers[0], kind, MODEL)  # type: ignore[arg-type]


def test_a_server_that_cannot_move_in_any_allowed_way_is_a_defect() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")], [make_server("s", "a", cpu_cores=1.0, status="SHUTOFF")])
    with pytest.raises(UnsafePlan, match="s is to move and cannot"):
        steps_of(problem_of(cluster), {"s": "b"}, ways=Ways(cold=False))


def test_no_moves_no_actions() -> None:
    cluster = heap()
    assert steps_of(problem_of(cluster), placement_of(cluster)) == Steps(placement_of(cluster), (), (), ())


# ---- services


def service(steps: Steps) -> Action:
    (action,) = [a for a in steps.actions if isinstance(a.input_parameters, ServiceStateInput)]
    return action


def test_a_service_that_closes_first_is_waited_for_by_all_who_leave() -> None:
    cluster = heap()
    cluster = cluster.with_servers((*cluster.servers, make_server("t", "b", cpu_cores=0)))
    steps = steps_of(problem_of(cluster), moved(cluster, s0="b", s1="c", t="c"), [ServiceChange("a", "disabled", "drained", "before")])
    first = service(steps)
    assert steps.actions[0] == first
    assert first.parents == ()
    assert first.input_parameters == ServiceStateInput(resource_id="id-a", resource_name="a", state="disabled", disabled_reason="drained")
    assert first.reason.startswith("a is disabled first")
    assert "drained" in first.reason
    assert first.cost.expected_s > 0
    waits = {a.input_parameters.resource_id: first.uuid in a.parents for a in steps.actions[1:]}
    assert waits == {"s0": True, "s1": True, "t": False}
    assert len(steps.changes) == 1


def test_a_move_waits_for_the_services_of_both_its_hosts() -> None:
    steps = steps_of(problem_of(heap()), moved(heap(), s0="b"), [ServiceChange(name, "disabled", "drained", "before") for name in "ab"])
    services = {a.uuid for a in steps.actions if isinstance(a.input_parameters, ServiceStateInput)}
    move = next(a for a in steps.actions if a.action_type == "migrate")
    assert len(services) == 2
    assert services <= set(move.parents)


def test_a_service_that_closes_last_waits_for_all_who_were_there() -> None:
    cluster = make_cluster([make_host(n, vcpus=2) for n in "ab"] + [make_host("c")],
                           [make_server("s", "a", vcpus=2, cpu_cores=0), make_server("t", "b", vcpus=2, cpu_cores=0)])
    steps = steps_of(problem_of(cluster, HOSTS), {"s": "c", "t": "a"}, [ServiceChange("b", "disabled", "empty", "after")])
    last = service(steps)
    leaver = next(a for a in steps.actions if a.input_parameters.resource_id == "t")
    assert steps.actions[-1] == last
    assert last.parents == (leaver.uuid,)
    assert isinstance(last.input_parameters, ServiceStateInput)
    assert last.input_parameters.only_if_empty


def test_a_service_alone_is_a_plan() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")])
    steps = steps_of(problem_of(cluster), {}, [ServiceChange("a", "enabled", "back", "before")])
    assert len(steps.actions) == 1
    assert steps.actions[0].input_parameters == ServiceStateInput(resource_id="id-a", resource_name="a", state="enabled")


# ---- stops, and moves left out


def crossed(third: int = 4) -> Cluster:
    """Two full hosts whose servers are to change places; a third one with some room."""
    hosts = [make_host("a", vcpus=4), make_host("b", vcpus=4), make_host("c", vcpus=third)]
    return make_cluster(hosts, [make_server("s", "a", vcpus=4, cpu_cores=2.0), make_server("t", "b", vcpus=4, cpu_cores=1.0)])


def test_a_stop_is_called_a_stop() -> None:
    cluster = crossed()
    steps = steps_of(problem_of(cluster), {"s": "b", "t": "a"})
    assert [m[:3] for m in migrations(steps)] == [("s", "a", "c"), ("t", "b", "a"), ("s", "c", "b")]
    first, second, third = (action.reason for action in steps.actions)
    assert first == "s stops on c, so that there is room on a, and goes on to b"
    assert second.startswith("t: ")
    assert third == "s goes on from its stop on c"
    assert steps.actions[1].parents == (steps.actions[0].uuid,)
    assert set(steps.actions[2].parents) == {steps.actions[0].uuid, steps.actions[1].uuid}


def test_moves_left_out_are_named_and_nothing_is_done_when_the_rest_is_no_better() -> None:
    cluster = crossed(third=3)
    steps = steps_of(problem_of(cluster), {"s": "b", "t": "a"}, [ServiceChange("c", "disabled", "x", "before")])
    assert steps.actions == ()
    assert steps.changes == ()
    assert steps.placement == placement_of(cluster)
    assert [(one.server, one.host, one.rule) for one in steps.left_out] == [("s", "b", "order"), ("t", "a", "order")]
    assert "s would go from a to b" in steps.left_out[0].text


def test_what_is_good_without_the_moves_left_out_is_still_done() -> None:
    cluster = crossed(third=3)
    extra = (make_server("u", "d", vcpus=4, cpu_cores=2.0), make_server("v", "d", cpu_cores=2.0))
    cluster = replace(cluster, hosts=(*cluster.hosts, make_host("d", vcpus=7)), servers=(*cluster.servers, *extra))
    steps = steps_of(problem_of(cluster), {"s": "b", "t": "a", "u": "d", "v": "c"})
    assert [m[:3] for m in migrations(steps)] == [("v", "d", "c")]
    assert {one.server for one in steps.left_out} == {"s", "t"}


def test_a_stop_that_max_moves_does_not_allow_is_left_out() -> None:
    cluster = crossed()
    assert len(steps_of(problem_of(cluster, max_moves=3), {"s": "b", "t": "a"}).actions) == 3
    assert steps_of(problem_of(cluster, max_moves=2), {"s": "b", "t": "a"}).actions == ()


@settings(max_examples=80)
@given(st.one_of(tight(), clusters(max_hosts=4, max_servers=7)), st.integers(0, 10**6))
def test_any_legal_placement_becomes_a_legal_plan_or_none(cluster: Cluster, seed: int) -> None:
    problem = problem_of(cluster, ((Term(Spread("cpu")),), (Term(MoveCost()),)))
    wanted = wandered(cluster, list(problem.constraints), random.Random(seed))
    steps = steps_of(problem, wanted)
    assert problem.breaches(steps.placement) == []
    if steps.left_out:
        assert steps.actions == () or better(problem.values(steps.placement), problem.values(placement_of(cluster)))
    else:
        assert steps.placement == wanted
    where = dict(placement_of(cluster))
    for server, source, destination, _ in migrations(steps):
        assert where[server] == source
        where[server] = destination
    assert where == steps.placement


@given(st.lists(st.sets(st.integers(0, 7)), min_size=1, max_size=8), st.integers(0, 2), st.integers(0, 2), st.randoms(use_true_random=False))
def test_whatever_the_sequence_each_step_waits_for_the_same_ones(earlier: list[set[int]], before: int, after: int, chance: random.Random) -> None:
    steps = [Step(n, 0, 1, tuple(sorted(p for p in some if p < n))) for n, some in enumerate(earlier)]
    actions = [*(instances.switch(f"b{n}", "disabled") for n in range(before)), *(instances.move(f"s{n}", "h0", "h1") for n in range(len(steps))),
               *(instances.switch(f"a{n}", "disabled") for n in range(after))]
    open_ones, sequence = set(range(len(steps))), list(range(before))
    while open_ones:
        some = chance.choice([n for n in sorted(open_ones) if open_ones.isdisjoint(steps[n].parents)])
        open_ones.remove(some)
        sequence.append(before + some)
    found = _scheduled(steps, actions, [*sequence, *range(before + len(steps), len(actions))])
    assert [step.server for step in found] == [number - before for number in sequence[before:]]
    assert all({found[parent].server for parent in step.parents} == set(steps[step.server].parents) for step in found)
    assert all(parent < number for number, step in enumerate(found) for parent in step.parents)


# ---- replay


def replayed(problem: Problem, steps: Steps, parents: Sequence[Sequence[int]]) -> None:
    replay(problem, parents, [a for a in steps.actions if isinstance(a.input_parameters, MigrateInput)])


def test_replay_catches_an_arrival_that_does_not_wait_for_room() -> None:
    cluster = make_cluster([make_host("a", vcpus=1), make_host("b", vcpus=1), make_host("c")],
                           [make_server("s", "a", cpu_cores=0), make_server("t", "b", cpu_cores=0)])
    problem = problem_of(cluster, ((Term(Remaining("b")),),))
    steps = steps_of(problem, {"s": "b", "t": "c"})
    assert [m[0] for m in migrations(steps)] == ["t", "s"]
    replayed(problem, steps, [(), (0,)])
    with pytest.raises(UnsafePlan, match="capacity: VCPU on b"):
        replayed(problem, steps, [(), ()])


def test_replay_catches_two_of_a_group_on_one_host_in_passing() -> None:
    cluster = make_cluster([make_host(n) for n in "abc"], [make_server("s", "a", cpu_cores=0), make_server("t", "b", cpu_cores=0)],
                           groups=(make_group("anti-affinity", "s", "t"),))
    problem = problem_of(cluster, ((Term(Remaining("b")),),))
    steps = steps_of(problem, {"s": "b", "t": "c"})
    replayed(problem, steps, [(), (0,)])
    with pytest.raises(UnsafePlan, match="anti_affinity"):
        replayed(problem, steps, [(), ()])


def test_replay_catches_a_stop_that_is_not_waited_for() -> None:
    problem = problem_of(crossed())
    steps = steps_of(problem, {"s": "b", "t": "a"})
    replayed(problem, steps, [(), (0,), (0, 1)])
    for wrong in ([(), (), (0, 1)], [(), (0,), (0,)]):
        with pytest.raises(UnsafePlan, match="capacity"):
            replayed(problem, steps, wrong)


def test_replay_catches_a_circle() -> None:
    problem = problem_of(crossed())
    steps = steps_of(problem, {"s": "b", "t": "a"})
    with pytest.raises(UnsafePlan, match="circle"):
        replayed(problem, steps, [(1,), (0,), (0, 1)])


def test_replay_leaves_soft_groups_to_the_end() -> None:
    cluster = heap(2, groups=(make_group("soft-affinity", "s0", "s1"),))
    problem = problem_of(cluster, ((Term(Remaining("a")),),))
    steps = steps_of(problem, {"s0": "b", "s1": "b"})
    replayed(problem, steps, [(), (0,)])
