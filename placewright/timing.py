"""How long migrations take in this cloud, by those it has on record."""

from collections import defaultdict
from datetime import UTC, datetime, timedelta

from migrate.duration import MB_PER_GB, TimeModel, cost_of, fitted
from optimizer.cluster import Cluster
from placewright.sources import Source


def learned(model: TimeModel, cluster: Cluster, source: Source, hours: float) -> tuple[TimeModel, tuple[str, ...]]:
    """The time model as the live migrations of the last hours have it, and a note on it.

    Where a host sends one at a time, the time of each begins when the one before it has ended; else those count that had their source for themselves.
    Cold ones are no measure: their times on record hold the waiting for whoever confirms them.
    """
    history = source.history(datetime.now(UTC) - timedelta(hours=hours)) if hours else None
    by_source = defaultdict(list)
    for past in sorted((past for past in history or () if past.kind == "live-migration"), key=lambda past: past.ended):
        by_source[past.source].append(past)
    samples = []
    for some in by_source.values():
        free = some[0].began
        for past in some:
            alone = all(other is past or other.ended <= past.began or other.began >= past.ended for other in some)
            begin, free = max(past.began, free) if model.live_per_source == 1 else past.began, past.ended
            server = cluster.server_by_id.get(past.server)
            if server is not None and (alone or model.live_per_source == 1):
                samples.append((past.ended, cost_of(cluster, server, "live", model).copy_gb * MB_PER_GB, (past.ended - begin).total_seconds()))
    better = fitted(model, [(copied, seconds) for _, copied, seconds in sorted(samples)])
    if better == model:
        return model, ()
    return better, (f"Times are those of {len(samples)} live migrations on record: {better.live_overhead_s:.1f} s and "
                    f"{better.bandwidth_mb_per_s:.0f} MiB/s.",)
