"""The geometry of the pictures."""

import re
from collections import Counter

import pytest

from migrate.executor import ActionReport
from migrate.plan import Action, Cost, MigrateInput
from placewright.picture import (
    AXIS,
    CURVE_HEIGHT,
    GUTTER,
    LANE_HEIGHT,
    ROW_HEIGHT,
    SKYLINE_WIDTH,
    TIMELINE_WIDTH,
    HostShare,
    clock,
    histogram,
    host_shares,
    skyline,
    timeline,
)
from tests.support.clusters import LOAD, make_cluster, make_host, make_server


def share(name, before, after, servers=(1, 1), closed=False):
    return HostShare(name, before, after, *servers, closed)


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


@pytest.mark.parametrize("count", [1, 8, 279, 1000])
def test_every_host_has_a_bar_inside_the_picture(count):
    sky = skyline([share(f"h{n}", 100 * n / count, 50) for n in range(count)], 90)
    assert len(sky.bars) == count
    for bar in sky.bars:
        for box in filter(None, (bar.before, bar.kept, bar.gained, bar.lost)):
            assert AXIS - 0.1 <= box.x <= box.x + box.width <= SKYLINE_WIDTH + 0.2
            assert -0.01 <= box.y <= box.y + box.height <= ROW_HEIGHT + 0.02


def test_what_is_kept_gained_and_lost_adds_up():
    up, down = skyline([share("up", 20, 70), share("down", 60, 10)], None).bars[::-1]
    assert up.gained.height + up.kept.height == pytest.approx(0.7 * ROW_HEIGHT)
    assert up.lost is None
    assert down.lost.height + down.kept.height == pytest.approx(down.before.height)
    assert down.gained is None


def test_emptied_hosts_stand_at_the_right_end():
    sky = skyline([share("full", 10, 12), share("emptied", 90, 0, (3, 0)), share("always empty", 0, 0, (0, 0))], None)
    assert [bar.title.split(":")[0] for bar in sky.bars] == ["full", "always empty", "emptied"]
    assert sky.emptied_count == 1
    assert sky.emptied.x + sky.emptied.width == pytest.approx(SKYLINE_WIDTH)


@pytest.mark.parametrize(
    ("highest", "top"), [(0, "100 %"), (100, "100 %"), (139, "150 %"), (390, "400 %"), (1234, "2000 %")]
)
def test_axis_ends_at_a_round_number_above_the_highest_load(highest, top):
    assert skyline([share("h", highest, 0)], None).ticks[-1][1] == top


def test_histogram_counts_every_host_on_both_sides():
    bins = histogram([share("a", 100, 0, (2, 0)), share("b", 10, 10.1), share("c", 0, 0, (1, 1))])
    assert {b.label: (b.before, b.after) for b in bins if b.before or b.after} == {
        "empty": (0, 1),
        "0 to 10 %": (2, 1),
        "10 to 20 %": (0, 1),
        "90 to 100 %": (1, 0),
    }


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


def test_load_is_used_only_when_both_sides_have_it():
    before = make_cluster([make_host("a", ratio=2.0)], [make_server("s", "a", cpu_cores=4.0, vcpus=8)], load=LOAD)
    assert host_shares(before, before, "cpu")[0].before == 50
    assert host_shares(before, make_cluster(before.hosts, before.servers), "cpu")[0].before == 50  # 8 of 16 VCPU
    assert host_shares(before, before, "memory")[0].before == pytest.approx(100 * 512 / 16384)


def test_hosts_that_come_and_go_are_shown():
    before, after = make_cluster([make_host("a")]), make_cluster([make_host("b", status="disabled")])
    assert [(s.name, s.closed) for s in host_shares(before, after, "cpu")] == [("a", False), ("b", True)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (856, "14 min 16 s"), (3600, "1 h"), (7530, "2 h 5 min")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text
