"""How long migrations take in this cloud, by those it has on record."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from datasources.nova import PastMigration
from migrate.duration import FASTEST_MB_PER_S, MB_PER_GB, MIN_SAMPLES, NOVA_PATIENCE_S, TimeModel, cost_of, fitted, never_ends
from migrate.plan import Action, MigrateInput
from optimizer.cluster import Cluster, Server
from placewright.sources import Source

_NAMES = 10  # that a note holds
_MOST_SHARED, _TRIED = 300, 200
_SLOWED_S = 2.0  # what sharing has to cost a migration that tells of it: Nova's times are whole seconds

_Spans = Sequence[tuple[float, int]]
"""Seconds, and how many migrations were meanwhile at the busier of one's hosts: one span after the other from its beginning to its end."""


@dataclass(frozen=True, slots=True)
class _Flight:
    """A migration on record: its hosts, and when, after it had waited in the queue of its source, it began and ended (seconds)."""

    server: str
    hosts: tuple[str, str]
    begin: float
    end: float


Handled = Callable[[str], float]
"""Name of a cloud -> the seconds that pass there besides a migration (TimeModel.handling_s), by what is remembered."""


def nothing_remembered(cloud: str) -> float:
    """No seconds."""
    return 0.0


def learned(model: TimeModel, cluster: Cluster, source: Source, hours: float,
            handled: Handled = nothing_remembered) -> tuple[TimeModel, tuple[str, ...]]:
    """The time model as the live migrations of the last hours have it, and notes on it.

    Those beside which no other was at their hosts give overhead and bandwidth, then the others what a host's migrations get together.
    Cold ones are not looked at: their times on record hold the waiting for whoever confirms them.
    """
    history = source.history(datetime.now(UTC) - timedelta(hours=hours)) if hours else None
    if history is None:
        return model, ()
    flights = _flights([past for past in history if past.kind == "live-migration" and past.ended > past.began], model.live_per_source)
    by_host = defaultdict(list)
    for flight in flights:
        for host in flight.hosts:
            by_host[host].append(flight)
    alone, shared = list[tuple[Server, float]](), list[tuple[Server, _Spans]]()
    for flight in flights:
        server = cluster.server_by_id.get(flight.server)
        if server is None:
            continue
        spans = _spans(flight, *(by_host[host] for host in flight.hosts))
        if all(count == 1 for _, count in spans):
            alone.append((server, flight.end - flight.begin))
        else:
            shared.append((server, spans))
    model = replace(model, handling_s=handled(cluster.name))
    besides = (f"Besides, {model.handling_s:.1f} s pass until a migration is begun, and seen to be over and verified, as in earlier plans.",) \
        if model.handling_s else ()
    if len(alone) < MIN_SAMPLES:
        return model, besides
    better = _consistent(model, cluster, alone)
    said = f"Times are those of {len(alone)} live migrations on record beside no other at their hosts: {better.live_overhead_s:.1f} s and " \
           f"{better.bandwidth_mb_per_s:.0f} MiB/s"
    bandwidth = _together_mb_per_s(better, cluster, shared[-_MOST_SHARED:])
    if bandwidth is None:
        return better, (f"{said}.", *besides)
    return replace(better, host_bandwidth_mb_per_s=bandwidth), (
        f"{said}; by others, all migrations of a host together get {bandwidth:.0f} MiB/s.", *besides)


def _flights(past: Sequence[PastMigration], at_once: int) -> Sequence[_Flight]:
    """In the order of their ends; of those that a host sends, so many are under way at once and the others wait."""
    ends_of = defaultdict[str, list[float]](list)
    found = []
    for one in sorted(past, key=lambda one: (one.began, one.ended)):
        begin, end = one.began.timestamp(), one.ended.timestamp()
        before = sorted(other for other in ends_of[one.source] if other > begin)
        ends_of[one.source] = [*before, end]
        if len(before) >= at_once and before[-at_once] < end:  # else it was not queued
            begin = before[-at_once]
        found.append(_Flight(one.server, (one.source, one.destination), begin, end))
    return sorted(found, key=lambda flight: flight.end)


def _spans(flight: _Flight, *at_its_hosts: Sequence[_Flight]) -> _Spans:
    begin, end = flight.begin, flight.end
    meanwhile = [[other for other in some if other.begin < end and other.end > begin] for some in at_its_hosts]
    moments = sorted({begin, end, *(moment for some in meanwhile for other in some for moment in (other.begin, other.end) if begin < moment < end)})
    return [(then - now, max(sum(other.begin <= now and other.end >= then for other in some) for some in meanwhile))
            for now, then in pairwise(moments)]


def _together_mb_per_s(model: TimeModel, cluster: Cluster, samples: Sequence[tuple[Server, _Spans]]) -> float | None:
    """What the migrations of a host get together, by those that shared one; None where too few of them tell.

    By what each of them has copied, so many went abreast, or more than it saw; of these numbers the least absolute deviations are taken, since some
    were held up by something else.
    """
    def copied_s(spans: _Spans, abreast: float) -> float:
        """What was copied, in seconds of one alone."""
        overhead, copied = model.live_overhead_s, 0.0
        for seconds, count in spans:
            copied += max(0.0, seconds - overhead) * min(1.0, abreast / count)
            overhead = max(0.0, overhead - seconds)
        return copied

    told, seen = [], []
    for server, spans in samples:
        counts = sorted({1, *(count for _, count in spans)})
        copied = [copied_s(spans, count) for count in counts]  # and in a straight line between two of them
        if copied[-1] - copied[0] >= _SLOWED_S:
            told.append(np.interp(cost_of(cluster, server, "live", model).copy_gb * MB_PER_GB / model.bandwidth_mb_per_s, copied, counts))
            seen.append(counts[-1])
    if len(told) < MIN_SAMPLES:
        return None
    trials = np.geomspace(1, max(seen), _TRIED)
    off = np.abs(np.minimum(trials[:, None], np.array(seen)) - np.array(told)).sum(axis=1)
    return float(trials[off.argmin()]) * model.bandwidth_mb_per_s


def _consistent(model: TimeModel, cluster: Cluster, samples: Sequence[tuple[Server, float]]) -> TimeModel:
    """The model by which the samples took the time that they took, by bisection: what each has copied depends in turn on the bandwidth.

    The less bandwidth is assumed, the more was copied, and the more bandwidth comes out.
    """
    def fit(assumed_mb_per_s: float) -> TimeModel:
        trial = replace(model, bandwidth_mb_per_s=assumed_mb_per_s)
        return fitted(trial, [(cost_of(cluster, server, "live", trial).copy_gb * MB_PER_GB, seconds) for server, seconds in samples])

    low, high = 1.0, FASTEST_MB_PER_S
    if fit(high).bandwidth_mb_per_s == high:  # what size costs does not show
        return fit(model.bandwidth_mb_per_s)
    while high > low * 1.0001:
        middle = math.sqrt(low * high)
        found = fit(middle)
        low, high = (middle, high) if found.bandwidth_mb_per_s >= middle else (low, middle)
    return found


def endless(cluster: Cluster, actions: Sequence[Action], model: TimeModel) -> tuple[str, ...]:
    """A note on the live migrations that are not expected to end by themselves; with post-copy, forcing them is the way they are meant to end."""
    live = {what.resource_id for what in (action.input_parameters for action in actions)
            if isinstance(what, MigrateInput) and what.migration_type == "live"}
    names = sorted(server.name for server in map(cluster.server_by_id.__getitem__, live) if never_ends(cluster, server, model))
    if not names or model.convergence == "post_copy":
        return ()
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return (f"Live migrations that are not expected to end by themselves: {', '.join(names[:_NAMES])}{more}. At {model.dirty_mb_per_core_s:g} MiB/s "
            f"for each busy core, their memory is written about as fast as it is copied; their times are those of a forced end. Nova gives up after "
            f"{NOVA_PATIENCE_S:g} s for each GiB, plan apply as on_stall says. Move them cold or when they are quiet, or permit auto-converge or "
            "post-copy in Nova.",)
