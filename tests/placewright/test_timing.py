"""What migrations on record teach about the next ones."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasources.nova import PastMigration
from migrate.duration import TimeModel, cost_of
from migrate.limits import Limits
from migrate.plan import Action
from migrate.schedule import timetable
from optimizer.cluster import Cluster
from placewright.timing import endless, learned
from tests.migrate.instances import move, switch
from tests.support.clusters import make_cluster, make_flavor, make_host, make_server

MODEL = TimeModel(bandwidth_mb_per_s=500, dirty_mb_per_core_s=0, live_overhead_s=5, shared_storage=True)
SIZES = (1, 2, 4, 8, 16)
START = datetime(2026, 5, 1, tzinfo=UTC)
CLUSTER = make_cluster([make_host("a"), make_host("b")], [make_server(f"s{n}", "a", flavor=f"f{n}") for n in SIZES],
                       flavors=[replace(make_flavor(f"f{n}"), memory_mb=n * 1024) for n in SIZES])


@dataclass
class Recorded:
    """A source with a history."""

    past: Sequence[PastMigration] | None
    since: datetime | None = None

    def cluster(self) -> Cluster:
        return CLUSTER

    def with_load(self, cluster: Cluster, need: Any) -> Cluster:
        return cluster

    def history(self, since: datetime) -> Sequence[PastMigration] | None:
        self.since = since
        return self.past


def past(number: int, gib: int, seconds: float, **fields: Any) -> PastMigration:
    """One an hour, so that none meets another."""
    began = START + timedelta(hours=number)
    return replace(PastMigration(f"s{gib}", "a", "b", "live-migration", began, began + timedelta(seconds=seconds)), **fields)


def ahead(hour: int) -> PastMigration:
    """One that begins after the one of its hour, and is over long before it."""
    one = past(hour, 1, 13)
    return replace(one, began=one.began + timedelta(seconds=1), ended=one.ended + timedelta(seconds=1))


REGULAR = [past(n, gib, 3 + 10 * gib) for n, gib in enumerate(SIZES)]  # 3 s, and 10 s for each GiB


def test_learned() -> None:
    source = Recorded(REGULAR)
    model, notes = learned(MODEL, CLUSTER, source, 48)
    assert (model.live_overhead_s, model.bandwidth_mb_per_s) == pytest.approx((3, 102.4))
    assert notes == ("Times are those of 5 live migrations on record beside no other at their hosts: 3.0 s and 102 MiB/s.",)
    assert source.since is not None
    assert datetime.now(UTC) - source.since == pytest.approx(timedelta(hours=48), abs=timedelta(seconds=5))


def test_what_passes_besides_is_no_part_of_what_nova_has_on_record() -> None:
    """It is told, and counts for plans."""
    asked = {CLUSTER.name: 4.0}
    model, notes = learned(MODEL, CLUSTER, Recorded(REGULAR), 48, asked.__getitem__)
    assert (model.live_overhead_s, model.bandwidth_mb_per_s, model.handling_s) == pytest.approx((3, 102.4, 4))
    besides = "Besides, 4.0 s pass until a migration is begun, and seen to be over and verified, as in earlier plans."
    assert notes[1:] == (besides,)
    assert learned(MODEL, CLUSTER, Recorded([]), 48, asked.__getitem__) == (replace(MODEL, handling_s=4.0), (besides,))
    assert cost_of(CLUSTER, CLUSTER.server_by_id["s1"], "live", model).expected_s == pytest.approx(3 + 10 + 4)


@pytest.mark.parametrize(("more", "at_once"), [
    ([past(n, 1, 500, kind="migration") for n in range(10, 30)], 1),  # cold ones
    ([past(n, 7, 500) for n in range(10, 30)], 1),  # of servers that are gone
    ([past(10, 1, 500 + n) for n in range(20)], 2),  # at the same time from the same host
    ([past(10, 1, 500, source=f"h{n}") for n in range(20)], 1),  # to the same host
    ([past(10 + n, 1, -1) for n in range(20)], 1),  # by clocks that differ
    ([past(10 + n, 1, 0) for n in range(20)], 1),
    ([one for n in range(10, 20) for one in (past(n, 16, 176), ahead(n))], 1),  # which has overtaken the one before it
])
def test_what_does_not_count(more: list[PastMigration], at_once: int) -> None:
    model, _ = learned(replace(MODEL, live_per_source=at_once), CLUSTER, Recorded([*REGULAR, *more]), 24)
    assert (model.live_overhead_s, model.bandwidth_mb_per_s) == pytest.approx((3, 102.4))


def test_the_time_in_the_queue_is_no_time_of_the_migration() -> None:
    """All are asked for at once, and the host sends them one by one."""
    until = [sum(3 + 10 * gib for gib in SIZES[:n + 1]) for n in range(len(SIZES))]
    model, _ = learned(MODEL, CLUSTER, Recorded([past(0, gib, end) for gib, end in zip(SIZES, until, strict=True)]), 24)
    assert (model.live_overhead_s, model.bandwidth_mb_per_s) == pytest.approx((3, 102.4))


def recorded(actions: Sequence[Action], spans: Mapping[str, tuple[float, float]]) -> list[PastMigration]:
    """Migrations as Nova would have them on record that went as planned, a day after the others."""
    start = START + timedelta(days=1)
    return [PastMigration(what.resource_id, what.source_node, what.destination_node, "live-migration", start + timedelta(seconds=begin),
                          start + timedelta(seconds=end)) for one in actions for what, (begin, end) in [(one.input_parameters, spans[one.uuid])]]


def test_a_few_that_shared_a_host_teach_nothing() -> None:
    """Two pairs of long ones, and pairs that are over before they could slow each other down by much."""
    pairs = [[past(30 + hour, gib, seconds, destination=to) for to in "bc"]
             for hour, (gib, seconds) in enumerate([(16, 323), (16, 323), (1, 4), (1, 4), (1, 4)])]
    known = replace(MODEL, live_per_source=2, host_bandwidth_mb_per_s=700)
    model, notes = learned(known, CLUSTER, Recorded([*REGULAR, *(one for pair in pairs for one in pair)]), 24)
    assert model.host_bandwidth_mb_per_s == 700
    assert notes[0].endswith("MiB/s.")
    enough = [past(40, 16, 323, destination=to) for to in "bc"]
    model, notes = learned(known, CLUSTER, Recorded([*REGULAR, *enough, *(one for pair in pairs for one in pair)]), 24)
    assert model.host_bandwidth_mb_per_s == pytest.approx(102.4, rel=0.01)


@settings(max_examples=50, deadline=None)
@given(abreast=st.sampled_from([1.0, 1.4, 2.0, 3.0]), at_once=st.integers(1, 3), seed=st.integers(0, 99), configured=st.none() | st.just(5000.0))
def test_what_migrations_of_a_host_get_together(abreast: float, at_once: int, seed: int, configured: float | None) -> None:
    """By the timetable of a plan in which hosts are shared by four at most, some of them held up after it; and by some that were alone."""
    chance = random.Random(seed)
    true = replace(MODEL, bandwidth_mb_per_s=102.4, host_bandwidth_mb_per_s=abreast * 102.4, live_overhead_s=3, live_per_source=at_once)
    actions = [move(f"s{chance.choice(SIZES)}", *chance.sample("abcdef", 2), uuid=str(n)) for n in range(60)]
    actions = [replace(one, cost=cost_of(CLUSTER, CLUSTER.server_by_id[one.input_parameters.resource_id], "live", true)) for one in actions]
    spans = timetable(actions, true, Limits(total=12, per_host=4, poll_interval_s=0.01))
    busy = recorded(actions, spans)
    last = START + timedelta(days=2)
    late = [replace(one, began=last + timedelta(hours=n // 2), ended=last + timedelta(hours=n // 2, seconds=1500), source="a", destination=f"x{n}")
            for n, one in enumerate(busy[:len(busy) // 6 * 2])]  # in pairs
    model, notes = learned(replace(true, host_bandwidth_mb_per_s=configured), CLUSTER, Recorded([*REGULAR, *busy, *late]), 24)
    assert (model.live_overhead_s, model.bandwidth_mb_per_s) == pytest.approx((3, 102.4), rel=0.02)
    assert model.abreast == pytest.approx(abreast, rel=0.05)
    assert notes[0].endswith(f"; by others, all migrations of a host together get {model.host_bandwidth_mb_per_s:.0f} MiB/s.")


@given(bandwidth=st.floats(20, 5000), share=st.floats(0, 0.6), assumed=st.floats(20, 5000))
def test_what_was_copied_depends_on_what_is_learned(bandwidth: float, share: float, assumed: float) -> None:
    """Whatever bandwidth was assumed before: the servers write this share of the true one meanwhile."""
    vcpus = CLUSTER.flavors["f1"].vcpus
    true = replace(MODEL, bandwidth_mb_per_s=bandwidth, live_overhead_s=3, dirty_mb_per_core_s=share * bandwidth / (vcpus / 2))
    seconds = [cost_of(CLUSTER, CLUSTER.server_by_id[f"s{gib}"], "live", true).expected_s for gib in SIZES]
    model, _ = learned(replace(true, bandwidth_mb_per_s=assumed, live_overhead_s=1), CLUSTER, Recorded([
        past(n, gib, time) for n, (gib, time) in enumerate(zip(SIZES, seconds, strict=True))]), 24)
    assert [cost_of(CLUSTER, CLUSTER.server_by_id[f"s{gib}"], "live", model).expected_s for gib in SIZES] == pytest.approx(
        seconds, rel=0.05, abs=0.5)  # a round more or less


@pytest.mark.parametrize(("dirty", "convergence", "names"), [
    (400, "none", []), (501, "none", ["s16", "s4"]), (501, "auto_converge", []), (501, "post_copy", []),
])
def test_a_note_on_those_that_do_not_end(dirty: float, convergence: Any, names: list[str]) -> None:
    """Once for each that is to move live, however often."""
    actions = [move("s4", "a", "b"), move("s16", "a", "b"), move("s4", "b", "a"), move("s8", "a", "b", kind="cold"), switch("b", "enabled")]
    cores = CLUSTER.flavors["f1"].vcpus / 2
    notes = endless(CLUSTER, actions, replace(MODEL, dirty_mb_per_core_s=dirty / cores, convergence=convergence))
    assert [note for note in notes if f"themselves: {', '.join(names)}. " in note] == list(notes)
    assert bool(notes) == bool(names)


@pytest.mark.parametrize(("recorded", "hours"), [(None, 24), ([], 24), (REGULAR[:4], 24), (REGULAR, 0)])
def test_nothing_to_learn_from(recorded: list[PastMigration] | None, hours: float) -> None:
    """From a snapshot neither, whatever is remembered of the cloud it is of."""
    assert learned(MODEL, CLUSTER, Recorded(recorded), hours) == (MODEL, ())
    if recorded is None or not hours:
        assert learned(MODEL, CLUSTER, Recorded(recorded), hours, lambda cloud: 9.0) == (MODEL, ())
