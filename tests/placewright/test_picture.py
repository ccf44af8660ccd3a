"""The geometry of the pictures."""

import pytest

from placewright.picture import (
    AXIS,
    ROW_HEIGHT,
    SKYLINE_WIDTH,
    HostShare,
    clock,
    histogram,
    host_shares,
    skyline,
)
from tests.support.clusters import LOAD, make_cluster, make_host, make_server


def share(name, before, after, servers=(1, 1), closed=False):
    return HostShare(name, before, after, *servers, closed)


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
