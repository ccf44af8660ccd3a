"""Limits on migrations at once: bad ones, and what they allow, against counting every migration anew."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.limits import LimitError, Limits, Traffic, within
from migrate.plan import MigrateInput
from optimizer.cluster import Aggregate
from tests.migrate.instances import cluster, host, move


@pytest.mark.parametrize(("name", "value"), [
    ("total", 0), ("per_host", 0), ("total", -1), ("out_of_host", 0), ("into_host", -2),
    ("poll_interval_s", 0), ("action_timeout_s", -5), ("stall_timeout_s", 0), ("poll_interval_s", float("nan"))])
def test_bad_limits(name: str, value: float) -> None:
    with pytest.raises(LimitError, match=f"limit {name} is {value}"):
        Limits(**{name: value})


def test_bad_limits_of_aggregates() -> None:
    with pytest.raises(LimitError, match="limit in_aggregate of rack-2 is 0; 1 or more is expected"):
        Limits(in_aggregate={"rack-1": 1, "rack-2": 0})
    racks = replace(cluster([host("h0")], []), aggregates=(Aggregate(id="1", name="rack-1"), Aggregate(id="2", name="rack-2")))
    with pytest.raises(LimitError, match="parallel_in_aggregate: c has no aggregate rack-3, rack-4; it has rack-1, rack-2"):
        within(Limits(in_aggregate={"rack-4": 1, "rack-1": 1, "rack-3": 1}), racks)
    with pytest.raises(LimitError, match="it has none at all"):
        within(Limits(in_aggregate={"rack-1": 1}), cluster([host("h0")], []))


RACKS = {"h0": "rack-1", "h1": "rack-1", "h2": "rack-2", "h3": "rack-2"}
SOME = st.none() | st.integers(1, 3)


@st.composite
def migrations(draw: Any) -> MigrateInput:
    """From one of four hosts to another."""
    source, destination = draw(st.permutations(sorted(RACKS)))[:2]
    return move("s", source, destination, kind=draw(st.sampled_from(["live", "cold", "evacuate"]))).input_parameters


@given(st.integers(1, 9), st.integers(1, 4), SOME, SOME, SOME, st.lists(migrations(), max_size=12))
def test_one_more_is_admitted_exactly_when_no_count_is_above_its_limit(
        total: int, per_host: int, out: int | None, into: int | None, rack: int | None, asked: list[MigrateInput]) -> None:
    hosts = [host(name, aggregates=(RACKS[name],)) for name in RACKS] + [host("h4")]
    racks = replace(cluster(hosts, []), aggregates=(Aggregate(id="rack-1", name="rack-1"), Aggregate(id="rack-2", name="rack-2")))
    limits = within(Limits(total=total, per_host=per_host, out_of_host=out, into_host=into, in_aggregate={"rack-1": rack} if rack else {}), racks)

    def legal(flights: list[MigrateInput]) -> bool:
        ends = [("" if one.migration_type == "evacuate" else one.source_node, one.destination_node) for one in flights]
        return (len(ends) <= total and all(sum(name in pair for pair in ends) <= per_host for name in RACKS)
                and (out is None or all(sum(name == source for source, _ in ends) <= out for name in RACKS))
                and (into is None or all(sum(name == end for _, end in ends) <= into for name in RACKS))
                and (rack is None or sum("rack-1" in (RACKS.get(source), RACKS[end]) for source, end in ends) <= rack))

    traffic, under_way = Traffic(limits), list[MigrateInput]()
    for one in asked:
        admitted = traffic.admits(one)
        assert admitted == legal([*under_way, one])
        assert Traffic(limits, under_way).admits(one) == admitted
        under_way += [one] if admitted else []
        assert traffic.full == (len(under_way) == total)
