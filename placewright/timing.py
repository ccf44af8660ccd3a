"""How long migrations take in this cloud, by those it has on record."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from migrate.duration import FASTEST_MB_PER_S, MB_PER_GB, NOVA_PATIENCE_S, TimeModel, cost_of, fitted, never_ends
from migrate.plan import Action, MigrateInput
from optimizer.cluster import Cluster, Server
from placewright.sources import Source

_NAMES = 10  # that a note holds


def learned(model: TimeModel, cluster: Cluster, source: Source, hours: float) -> tuple[TimeModel, tuple[str, ...]]:
    """The time model as the live migrations of the last hours have it, and a note on it.

    Where a host sends one at a time, the time of each begins when the one before it has ended; else those count that had their source for themselves.
    Cold ones are no measure: their times on record hold the waiting for whoever confirms them.
    """
    history = source.history(datetime.now(UTC) - timedelta(hours=hours)) if hours else None
    by_source = defaultdict(list)
    for past in sorted((past for past in history or () if past.kind == "live-migration"), key=lambda past: past.ended):
        by_source[past.source].append(past)
    samples: list[tuple[datetime, Server, float]] = []
    for some in by_source.values():
        free = some[0].began
        for past in some:
            alone = all(other is past or other.ended <= past.began or other.began >= past.ended for other in some)
            begin, free = max(past.began, free) if model.live_per_source == 1 else past.began, past.ended
            server = cluster.server_by_id.get(past.server)
            if server is not None and (alone or model.live_per_source == 1):
                samples.append((past.ended, server, (past.ended - begin).total_seconds()))
    samples.sort(key=lambda sample: sample[0])
    better = _consistent(model, cluster, [(server, seconds) for _, server, seconds in samples])
    if better == model:
        return model, ()
    return better, (f"Times are those of {len(samples)} live migrations on record: {better.live_overhead_s:.1f} s and "
                    f"{better.bandwidth_mb_per_s:.0f} MiB/s.",)


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
