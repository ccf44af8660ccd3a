"""The timetable of a plan, against the executor itself on a cloud that keeps exactly to the time model."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.cloud import Handle, Outcome, Progress
from migrate.duration import TimeModel, cost_of
from migrate.executor import execute
from migrate.journal import NoJournal
from migrate.limits import Limits
from migrate.plan import Action, Cost, MigrateInput
from migrate.schedule import least_s, soonest, timed, timetable
from migrate.simulator import SimulatedCloud
from optimizer.cluster import Cluster
from tests.migrate.instances import cluster, host, move, plan, rules, server, switch

MODEL = TimeModel(bandwidth_mb_per_s=512, dirty_mb_per_core_s=0, live_overhead_s=3, cold_overhead_s=10)
EVERY_SECOND = Limits(total=4, per_host=2, poll_interval_s=1.0)


def priced(start: Cluster, actions: list[Action], model: TimeModel) -> list[Action]:
    """The actions with what they copy in this cluster."""
    def cost(action: Action) -> Cost:
        what = action.input_parameters
        return cost_of(start, start.server_by_id[what.resource_id], what.migration_type, model) if isinstance(what, MigrateInput) else Cost()

    return [replace(action, cost=cost(action)) for action in actions]


@st.composite
def scenarios(draw: Any) -> tuple[Cluster, list[Action], TimeModel, Limits]:
    """Servers of several sizes on roomy hosts, and any moves of them with any order among them."""
    names = [f"h{n}" for n in range(draw(st.integers(2, 5)))]
    servers = [server(f"s{n}", draw(st.sampled_from(names))) for n in range(draw(st.integers(1, 10)))]
    actions: list[Action] = []
    if draw(st.booleans()):
        actions.append(switch(names[0], "disabled"))
    for one in servers:
        target = draw(st.sampled_from(names[1:]))
        if target != one.host:
            parents = draw(st.sets(st.sampled_from([action.uuid for action in actions]), max_size=2)) if actions else set()
            actions.append(move(one.id, one.host, target, *sorted(parents), kind=draw(st.sampled_from(["live", "cold"]))))
    model = replace(MODEL, live_per_source=draw(st.integers(1, 3)), live_overhead_s=draw(st.sampled_from([0.25, 3.0])),
                    cold_overhead_s=draw(st.sampled_from([0.0, 10.0])), host_bandwidth_mb_per_s=draw(st.sampled_from([None, 100, 700, 1024])))
    limits = Limits(total=draw(st.integers(1, 5)), per_host=draw(st.integers(1, 3)), out_of_host=draw(st.none() | st.integers(1, 2)),
                    into_host=draw(st.none() | st.integers(1, 2)), in_aggregate={"rack": draw(st.integers(1, 4))},
                    aggregates_of=dict.fromkeys(names[:2], ("rack",)), poll_interval_s=draw(st.sampled_from([0.5, 1.0, 2.0])))
    start = cluster([host(name, 40) for name in names], servers)
    return start, priced(start, actions, model), model, limits


class Late(SimulatedCloud):
    """It takes a while until a migration that has ended is seen to have; others go on meanwhile."""

    def __init__(self, *given: Any, model: TimeModel, **more: Any) -> None:
        super().__init__(*given, model=model, **more)
        self.handling_s, self.over = model.handling_s, dict[Handle, float]()

    def _step(self, end: float) -> None:
        running = set(self._flights)
        super()._step(end)
        self.over.update(dict.fromkeys(running - set(self._flights), self.now()))

    def poll(self, handle: Handle) -> Outcome | Progress | None:
        seen = self.over.get(handle, -self.handling_s) + self.handling_s
        return super().poll(handle) if handle in self._flights or self.now() >= seen - 1e-6 else None


@settings(max_examples=300, deadline=None)
@given(scenarios(), st.sampled_from([0.0, 0.0, 0.7, 5.0]))
def test_all_comes_as_expected(scenario: tuple[Cluster, list[Action], TimeModel, Limits], handling_s: float) -> None:
    start, actions, model, limits = scenario
    model = replace(model, handling_s=handling_s)
    expected = timetable(actions, model, limits)
    done = execute(plan(*actions), Late(start, rules, model=model, spread=0.0), rules, limits, lambda event: None, NoJournal())
    assert least_s(actions, model, limits) <= done.seconds + 1e-6
    for one in done.actions:
        assert one.state == "SUCCEEDED"
        assert (one.started_s, one.ended_s) == pytest.approx(expected[one.action.uuid]), str(one.action)


def test_what_passes_besides_holds_up_what_waits_for_it_and_not_what_is_queued() -> None:
    """Each copies 1 GiB in 2 s, after 3 s, and is seen to be over 2 s after its end; the host sends one at a time, of two that may be there."""
    start = cluster([host(f"h{n}", 40) for n in range(5)], [server(f"s{n}", "h0") for n in range(4)])
    model = replace(MODEL, handling_s=2)
    moves = [move(f"s{n}", "h0", f"h{n + 1}") for n in range(4)]
    assert [end for _, end in timetable(priced(start, moves, model), model, EVERY_SECOND).values()] == [7, 12, 17, 22]
    chain = [replace(one, parents=(before.uuid,)) for before, one in pairwise(moves)]
    assert [end for _, end in timetable(priced(start, [moves[0], *chain], model), model, EVERY_SECOND).values()] == [7, 14, 21, 28]


def test_a_host_sends_one_at_a_time() -> None:
    """Each copies 1 GiB in 2 s, after 3 s."""
    start = cluster([host(f"h{n}", 40) for n in range(5)], [server(f"s{n}", "h0") for n in range(4)])
    actions = priced(start, [move(f"s{n}", "h0", f"h{n + 1}") for n in range(4)], MODEL)
    wide = Limits(total=9, per_host=9, poll_interval_s=1.0)
    assert [end for _, end in timetable(actions, MODEL, wide).values()] == [5, 10, 15, 20]
    together = timetable(actions, replace(MODEL, live_per_source=4), wide)
    assert list(together.values()) == [(0, 11)] * 4  # 3 s, and four times 1 GiB over one link
    wider = timetable(actions, replace(MODEL, live_per_source=4, host_bandwidth_mb_per_s=1024), wide)
    assert list(wider.values()) == [(0, 7)] * 4  # which carries two abreast


def test_limits_and_parents_are_waited_for() -> None:
    start = cluster([host(f"h{n}", 40) for n in range(5)], [server(f"s{n}", f"h{n}") for n in range(3)])
    actions = priced(start, [move("s0", "h0", "h4", uuid="0"), move("s1", "h1", "h4", uuid="1"), move("s2", "h2", "h3", "0", uuid="2")], MODEL)
    assert timetable(actions, MODEL, Limits(total=9, per_host=1, poll_interval_s=1.0)) == {"0": (0, 5), "1": (5, 10), "2": (5, 10)}


def test_hosts_take_turns_where_that_is_shorter() -> None:
    """Two at once from one host take twice as long; each alone copies 1 GiB in 2 s, after 3 s."""
    start = cluster([host(f"h{n}", 40) for n in range(6)], [server(f"s{n}", f"h{n // 2}") for n in range(4)])
    actions = priced(start, [move(f"s{n}", f"h{n // 2}", f"h{n + 2}", uuid=str(n)) for n in range(4)], MODEL)
    limits = Limits(total=2, per_host=2, poll_interval_s=1.0)
    assert max(end for _, end in timetable(actions, MODEL, limits).values()) == 15
    assert soonest(actions, MODEL, limits, {}) == [0, 2, 1, 3]
    assert least_s(actions, MODEL, limits) == 10
    assert max(end for _, end in timetable([actions[n] for n in soonest(actions, MODEL, limits, {})], MODEL, limits).values()) == 10


def test_the_urgent_go_first_with_what_makes_room_for_them() -> None:
    start = cluster([host(f"h{n}", 40) for n in range(8)], [server(f"s{n}", f"h{n}") for n in range(4)])
    actions = priced(start, [move("s0", "h0", "h4", uuid="0"), move("s1", "h1", "h5", uuid="1"), move("s2", "h2", "h6", uuid="2"),
                             move("s3", "h3", "h2", "2", uuid="3"), switch("h3", "disabled", "0", "1", "3")], MODEL)
    limits = Limits(total=1, poll_interval_s=1.0)
    assert soonest(actions, MODEL, limits, {}) == [0, 1, 2, 3, 4]
    assert soonest(actions, MODEL, limits, {"s3": 1}) == [2, 3, 0, 1, 4]
    assert soonest(actions, MODEL, limits, {"s3": 1, "s1": 0}) == [1, 2, 3, 0, 4]


def test_the_actions_of_a_plan_carry_it() -> None:
    start = cluster([host("h0", 40), host("h1", 40)], [server("s", "h0")])
    (action,) = timed(priced(start, [move("s", "h0", "h1")], MODEL), MODEL, EVERY_SECOND)
    assert (action.cost.start_s, action.cost.end_s) == (0, 5)
    assert plan(action).expected_s == 5
    assert plan(action).copy_gb == 1
    assert plan(move("s", "h0", "h1")).expected_s is None
