"""How long a migration takes and how much it copies: a plain model of pre-copy live and of cold migration."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median

from migrate.plan import Cost, MigrateInput
from optimizer.cluster import Cluster, Flavor, Server
from optimizer.movability import Way

MB_PER_GB = 1024
MIN_SAMPLES = 5
_MOST_SAMPLES = 300  # of which all pairs are looked at
_APART_MB = 256  # servers closer in size than that tell nothing of bandwidth: Nova's times are whole seconds
_FASTEST_MB_PER_S = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeModel:
    """seconds = overhead + copied / bandwidth.

    A live migration copies the memory ``dirty_page_factor`` times, because pages written meanwhile are sent again,
    and the local disks too; a cold one copies the local disks. The defaults are guesses for a cloud nobody has
    measured; docs/execution.md tells how to replace them.

    bandwidth_mb_per_s
        What one migration alone gets between two hosts, MiB/s. Default 500: less than half of a 10 Gbit/s link.
    dirty_page_factor
        Memory sent / memory of the server. Default 1.2, an assumption: pre-copy sends pages again that are written
        meanwhile (Clark et al., Live Migration of Virtual Machines, NSDI 2005), how many depends on the load.
    live_overhead_s
        Checks, port bindings, switch-over. Default 5; a Nova with nothing to copy and no ports took about 2 s.
    cold_overhead_s
        Power off, confirm, boot; also what an evacuation takes. Default 30, an assumption.
    shared_storage
        Whether local disks of servers lie on storage that all hosts share (Ceph, NFS) and so need no copy. Default
        false.
    live_per_source
        Live migrations that a host sends at once, the others are queued there. Default 1, that of Nova's
        max_concurrent_live_migrations.
    """

    bandwidth_mb_per_s: float = 500.0
    dirty_page_factor: float = 1.2
    live_overhead_s: float = 5.0
    cold_overhead_s: float = 30.0
    shared_storage: bool = False
    live_per_source: int = 1

    def overhead_s(self, migration_type: Way) -> float:
        """The seconds that do not depend on what is copied."""
        return self.live_overhead_s if migration_type == "live" else self.cold_overhead_s


def fitted(model: TimeModel, samples: Sequence[tuple[float, float]]) -> TimeModel:
    """The model with overhead and bandwidth of live migrations by some that ran alone (MiB copied, seconds), the latest last.

    The line through the medians of all pairs (Theil, "A rank-invariant method of linear and polynomial regression analysis", 1950), so that a few
    that were held up do not count. Of servers of one size only the overhead is learned; from fewer than MIN_SAMPLES nothing is.
    """
    latest = samples[-_MOST_SAMPLES:]
    if len(latest) < MIN_SAMPLES:
        return model
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(latest, 2) if abs(x2 - x1) >= _APART_MB]
    slope = median(slopes) if len(slopes) >= MIN_SAMPLES else 0.0
    bandwidth = 1 / slope if slope > 1 / _FASTEST_MB_PER_S else model.bandwidth_mb_per_s
    overhead_s = max(0.0, median(seconds - copied / bandwidth for copied, seconds in latest))
    return replace(model, bandwidth_mb_per_s=bandwidth, live_overhead_s=overhead_s)


def rates(flights: Sequence[MigrateInput], model: TimeModel) -> list[float]:
    """MiB/s that each of some migrations under way (in the order of their starts) gets: its share of its busier host, 0 for one that is queued."""
    sending: Counter[str] = Counter()
    active = []
    for one in flights:
        live = one.migration_type == "live"
        active.append(not live or sending[one.source_node] < model.live_per_source)
        sending[one.source_node] += live
    busy = Counter(host for one, runs in zip(flights, active, strict=True) if runs for host in (one.source_node, one.destination_node))
    return [model.bandwidth_mb_per_s / max(busy[one.source_node], busy[one.destination_node]) if runs else 0.0
            for one, runs in zip(flights, active, strict=True)]


def advance(overhead_s: float, copy_mb: float, rate_mb_per_s: float, seconds: float) -> tuple[float, float]:
    """What is left of the overhead and the copy of a migration some seconds later: first the overhead passes, then the copy."""
    if not rate_mb_per_s:
        return overhead_s, copy_mb
    passed = min(overhead_s, seconds)
    return overhead_s - passed, max(0.0, copy_mb - (seconds - passed) * rate_mb_per_s)


def cost_of(cluster: Cluster, server: Server, migration_type: Way, model: TimeModel) -> Cost:
    """What migrating a server takes when nothing else migrates: GiB copied and expected seconds. From a host that is lost nothing is copied."""
    flavor = cluster.flavor_of(server)
    copy_gb = 0.0 if model.shared_storage or migration_type == "evacuate" else local_disk_gb(flavor, server)
    if migration_type == "live":
        copy_gb += flavor.memory_mb / MB_PER_GB * model.dirty_page_factor
    expected_s = model.overhead_s(migration_type) + copy_gb * MB_PER_GB / model.bandwidth_mb_per_s
    return Cost(copy_gb=round(copy_gb, 3), expected_s=round(expected_s, 3))


def local_disk_gb(flavor: Flavor, server: Server) -> float:
    """GiB of disk that lie on the host: ephemeral and swap, and the root disk unless it is a volume."""
    root_gb = 0 if server.boot_from_volume else flavor.disk_gb
    return root_gb + flavor.ephemeral_gb + flavor.swap_mb / MB_PER_GB
