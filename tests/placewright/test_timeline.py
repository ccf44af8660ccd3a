"""When what ran, and the load of hosts meanwhile, as drawn."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.executor import ActionReport
from migrate.plan import Action, Cost, MigrateInput
from placewright.picture import host_shares
from placewright.timeline import (
    COURSE_FIGURES,
    COURSE_GAP,
    COURSE_HEIGHT,
    COURSE_NAMES,
    COURSE_WIDTH,
    CURVE_HEIGHT,
    GUTTER,
    LANE_HEIGHT,
    TIMELINE_WIDTH,
    courses,
    timeline,
)
from tests.support.clusters import LOAD, make_cluster, make_host, make_server


def ran(number, start, end, state="SUCCEEDED", hosts=("a", "b"), expected=(None, None)):
    what = MigrateInput(
        resource_id=f"s{number}",
        resource_name=f"s{number}",
        migration_type="live",
        source_node=hosts[0],
        destination_node=hosts[1],
    )
    cost = Cost(start_s=expected[0], end_s=expected[1])
    action = Action(uuid=str(number), action_type="migrate", input_parameters=what, cost=cost)
    return ActionReport(action, state, "", start, end)


def boxes(time):
    return [box for row in time.rows for span in row.spans for box in (span.box, span.expected) if box is not None]


def test_migrations_stand_at_the_host_they_leave_and_what_never_ran_is_a_moment():
    time = timeline(
        [
            ran(1, 0.0, 10.0),
            ran(2, 0.0, 5.0),
            ran(3, 5.0, 9.0, hosts=("c", "a")),
            ran(4, None, 3.0, "SKIPPED"),
            ran(5, 6.0, None, "ONGOING"),
        ],
        12.0,
    )
    assert [(row.name, len(row.spans), row.height) for row in time.rows] == [("a", 3, 2 * LANE_HEIGHT), ("c", 1, LANE_HEIGHT)]
    assert (time.detailed, time.most, time.hosts) == (True, 3, 3)
    assert {span.box.y for span in time.rows[0].spans} == {1, 1 + LANE_HEIGHT}, "a lane is reused as soon as it is free"
    assert [moment.state for moment in time.moments] == ["SKIPPED"]
    assert all(GUTTER <= box.x < box.x + box.width <= TIMELINE_WIDTH for box in boxes(time))


def test_what_was_expected_stands_beside_what_was_measured():
    time = timeline([ran(1, 0.0, 10.0, expected=(0.0, 20.0)), ran(2, 10.0, 20.0, expected=(20.0, 40.0))], 20.0)
    first, second = time.rows[0].spans
    assert first.expected.x == first.box.x == GUTTER
    assert first.expected.width + 1 == pytest.approx(2 * (first.box.width + 1))
    assert second.expected.x + second.expected.width + 1 == pytest.approx(TIMELINE_WIDTH), "the longer of the two gives the scale"
    assert second.box.x == pytest.approx(GUTTER + (TIMELINE_WIDTH - GUTTER) / 4)
    assert first.title.endswith("succeeded, 0 to 10 s (expected: 0 to 20 s)")


def test_the_curve_is_as_high_as_many_ran_at_once():
    time = timeline([ran(1, 0.0, 10.0), ran(2, 0.0, 5.0), ran(3, 8.0, 10.0, hosts=("c", "d"))], 20.0)
    points = [float(part) for part in re.findall(r"V([\d.]+)", time.measured)]
    assert points == [0, CURVE_HEIGHT / 2, 0, CURVE_HEIGHT]
    assert float(re.findall(r"H([\d.]+)", time.measured)[-1]) == pytest.approx(GUTTER + (TIMELINE_WIDTH - GUTTER) / 2)
    assert time.expected == ""


@pytest.mark.parametrize("count", [15, 61, 2000])
def test_a_timeline_stays_within_its_picture(count):
    actions = [
        ran(n, n % 300 * 10.0, n % 300 * 10.0 + 25, "FAILED" if n == 7 else "SUCCEEDED", (f"h{n % 97}", f"h{n % 97 + 1}"), (n, n + 9.0))
        for n in range(count)
    ]
    time = timeline(actions, 3100.0)
    assert time.detailed == (count == 15)
    assert time.height == sum(row.height for row in time.rows) <= 1020
    assert all(GUTTER <= box.x < box.x + box.width <= TIMELINE_WIDTH for box in boxes(time))
    assert all(row.y <= span.box.y < span.box.y + span.box.height <= row.y + row.height for row in time.rows for span in row.spans)
    assert "FAILED" in {span.state for row in time.rows for span in row.spans}
    if not time.detailed:
        assert len(time.rows) == min(40, time.hosts)
        touched = Counter(host for done in actions for host in done.action.hosts)
        failed, busiest = [row.name for row in time.rows[:2]], [touched[row.name] for row in time.rows[2:]]
        assert set(failed) == {"h7", "h8"}
        assert busiest == sorted((touched[host] for host in touched if host not in failed), reverse=True)[:38]


def test_a_timeline_of_nothing():
    time = timeline([], 0.0)
    assert (time.rows, time.moments, time.measured, time.expected) == ((), (), "", "")


@st.composite
def executions(draw):
    """Servers on some of four hosts, and migrations of them one after the other, not all of which succeed; new servers and hosts among them."""
    hosts = ["a", "b", "c", "d"]
    where = {f"s{n}": draw(st.sampled_from(hosts)) for n in range(draw(st.integers(1, 6)))}
    before = make_cluster([make_host(host) for host in hosts],
                          [make_server(name, host, cpu_cores=float(draw(st.integers(0, 4)))) for name, host in where.items()], load=LOAD)
    actions = [ran(99, 0.0, 1.0, hosts=("a", "new")), ran(98, 0.0, 2.0, hosts=("new", "b"))]
    for step in range(draw(st.integers(1, 12))):
        name, state = draw(st.sampled_from(sorted(where))), draw(st.sampled_from(["SUCCEEDED", "FAILED"]))
        target = draw(st.sampled_from([host for host in hosts if host != where[name]]))
        actions.append(ran(int(name[1:]), 10.0 * step, 10.0 * step + 5, state, (where[name], target)))
        if state == "SUCCEEDED":
            where[name] = target
    return before, before.with_servers(tuple(replace(one, host=where[one.id]) for one in before.servers)), actions


@given(executions())
def test_the_load_over_time_ends_as_the_cluster_does(case):
    before, after, actions = case
    shares = {one.name: one for one in host_shares(before, after, "cpu")}
    found = courses(before, after, actions, 130.0, "cpu", 90.0)
    touched = {host for done in actions[2:] if done.state == "SUCCEEDED" for host in done.action.hosts}
    assert {row.name for row in found.rows} == touched
    assert found.hosts == len(touched)
    right = COURSE_WIDTH - COURSE_FIGURES
    for number, row in enumerate(found.rows):
        share = shares[row.name]
        assert row.figures == f"{share.before:.0f} → {share.after:.0f} %"
        assert f"{share.servers_before} -> {share.servers_after} servers" in row.title
        heights = [float(part) for part in re.findall(r"V([\d.]+)", row.area)]
        assert heights[0] == pytest.approx(COURSE_HEIGHT * (1 - share.before / found.top), abs=0.01)
        assert heights[-2] == pytest.approx(COURSE_HEIGHT * (1 - share.after / found.top), abs=0.01)
        assert all(0 <= height <= COURSE_HEIGHT for height in heights)
        widths = [float(part) for part in re.findall(r"H([\d.]+)", row.area)]
        assert widths == sorted(widths)
        assert (widths[0], widths[-1]) == (COURSE_NAMES, right)
        assert row.y == number * (COURSE_HEIGHT + COURSE_GAP)
    assert found.limit == pytest.approx(COURSE_HEIGHT * (1 - 90 / found.top), abs=0.01)


def test_the_highest_load_is_told_and_those_of_which_most_changed_come_first():
    """a -> b while b still has its own server, which goes to c after it."""
    servers = [make_server("s1", "a", cpu_cores=4.0), make_server("s2", "b", cpu_cores=2.0)]
    before = make_cluster([make_host(name) for name in "abc"], servers, load=LOAD)
    after = before.with_servers(tuple(replace(one, host={"s1": "b", "s2": "c"}[one.id]) for one in before.servers))
    found = courses(before, after, [ran(2, 5.0, 20.0, hosts=("b", "c")), ran(1, 0.0, 10.0)], 20.0, "cpu", None)
    assert [row.title for row in found.rows] == ["a: 50 % -> 0 %, at most 50 %, 1 -> 0 servers", "b: 25 % -> 50 %, at most 75 %, 1 -> 1 servers",
                                                 "c: 0 % -> 25 %, at most 25 %, 0 -> 1 servers"]
    assert (found.limit, found.top) == (None, 100)


def test_a_plan_that_goes_on_is_shown_from_its_beginning():
    """a -> b -> c in the program before, c -> d in this one."""
    before = make_cluster([make_host(name) for name in "abcd"], [make_server("s1", "c", cpu_cores=4.0)], load=LOAD)
    after = before.with_servers(tuple(replace(one, host="d") for one in before.servers))
    moves = [ran(1, 0.0, 10.0), ran(1, 10.0, 20.0, hosts=("b", "c")), ran(1, 50.0, 60.0, hosts=("c", "d"))]
    found = courses(before, after, moves, 60.0, "cpu", None)
    assert [row.title for row in found.rows] == ["a: 50 % -> 0 %, at most 50 %, 1 -> 0 servers", "b: 0 % -> 0 %, at most 50 %, 0 -> 0 servers",
                                                 "c: 0 % -> 0 %, at most 50 %, 0 -> 0 servers", "d: 0 % -> 50 %, at most 50 %, 0 -> 1 servers"]


def test_as_many_hosts_as_there_is_room_for():
    hosts = [f"h{n}" for n in range(60)]
    before = make_cluster([make_host(host) for host in hosts], [make_server(f"s{n}", f"h{n}") for n in range(59)])
    found = courses(before, before, [ran(n, 0.0, 1.0 + n, hosts=(f"h{n}", f"h{n + 1}")) for n in range(59)], 60.0, "memory", None)
    assert len(found.rows) == 24
    assert found.hosts == 60
    assert len(found.ticks) <= 5
