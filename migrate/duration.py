"""How long a migration takes and how much it copies: a plain model of pre-copy live and of cold migration."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import median
from typing import Literal

from migrate.plan import Cost, MigrateInput
from migrate.precopy import sent_mb
from optimizer.cluster import Cluster, Flavor, Server
from optimizer.movability import Way

MB_PER_GB = 1024
MIN_SAMPLES = 5
_MOST_SAMPLES = 300  # of which all pairs are looked at
_APART_MB = 256  # servers closer in size than that tell nothing of bandwidth: Nova's times are whole seconds
FASTEST_MB_PER_S = 50_000.0
_BUSY_SHARE = 0.5  # of its vCPUs, where nothing was measured
_FORCED = 2  # times the memory, for one that has to be forced to its end: after a round, what was written since is all of it at most

# Nova gives a live migration up after live_migration_completion_timeout, for each GiB, and these at least.
# https://docs.openstack.org/nova/latest/configuration/config.html#libvirt.live_migration_completion_timeout
NOVA_PATIENCE_S = 800.0
_LEAST_GB = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeModel:
    """seconds = overhead + copied / bandwidth.

    A live migration copies the memory, what is written to it meanwhile, and the local disks; a cold one copies the
    local disks. The defaults are guesses for a cloud nobody has measured; docs/execution.md tells how to replace
    them.

    bandwidth_mb_per_s
        What one migration alone gets between two hosts, MiB/s. Default 500: less than half of a 10 Gbit/s link.
    host_bandwidth_mb_per_s
        What all migrations from and to a host get together, MiB/s; less than one of them alone counts as that.
        Default: as one of them alone. It is more where a single stream does not fill the link.
    dirty_mb_per_core_s
        What a busy core writes to memory that was copied already, MiB/s. Default 20, an assumption; it depends on
        what the server does. How many cores are busy is measured, or taken as half of the flavor's.
    convergence
        What Nova is permitted when copying makes no progress: live_migration_permit_auto_converge, _post_copy, or
        none of it. Default none, as with Nova.
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
    handling_s
        What passes besides: until the cloud begins a migration, and from its end until it is seen and verified; its
        hosts do nothing then. Default 0.
    """

    bandwidth_mb_per_s: float = 500.0
    host_bandwidth_mb_per_s: float | None = None
    dirty_mb_per_core_s: float = 20.0
    convergence: Literal["none", "auto_converge", "post_copy"] = "none"
    live_overhead_s: float = 5.0
    cold_overhead_s: float = 30.0
    shared_storage: bool = False
    live_per_source: int = 1
    handling_s: float = 0.0

    @property
    def abreast(self) -> float:
        """How many migrations of a host go as fast as one alone; 1 or more."""
        return max(1.0, (self.host_bandwidth_mb_per_s or 0.0) / self.bandwidth_mb_per_s)

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
    bandwidth = 1 / slope if slope > 1 / FASTEST_MB_PER_S else model.bandwidth_mb_per_s
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
    return [model.bandwidth_mb_per_s / max(1.0, max(busy[one.source_node], busy[one.destination_node]) / model.abreast) if runs else 0.0
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
        memory_mb = flavor.memory_mb * _FORCED if never_ends(cluster, server, model) else _sent_mb(flavor, server, model)
        copy_gb += memory_mb / MB_PER_GB
    expected_s = model.overhead_s(migration_type) + copy_gb * MB_PER_GB / model.bandwidth_mb_per_s + model.handling_s
    return Cost(copy_gb=round(copy_gb, 3), expected_s=round(expected_s, 3))


def never_ends(cluster: Cluster, server: Server, model: TimeModel) -> bool:
    """Whether a live migration of the server, alone, is expected to go on until somebody loses patience."""
    flavor = cluster.flavor_of(server)
    patience_s = NOVA_PATIENCE_S * max(_LEAST_GB, flavor.memory_mb / MB_PER_GB)
    return _sent_mb(flavor, server, model) > patience_s * model.bandwidth_mb_per_s


def _sent_mb(flavor: Flavor, server: Server, model: TimeModel) -> float:
    usage = server.usage
    cores = flavor.vcpus * _BUSY_SHARE if usage is None or usage.assumed else usage.cpu_cores
    dirty_mb_per_s = 0.0 if server.status == "PAUSED" else cores * model.dirty_mb_per_core_s
    return sent_mb(flavor.memory_mb, dirty_mb_per_s, model.bandwidth_mb_per_s, auto_converge=model.convergence == "auto_converge")


def local_disk_gb(flavor: Flavor, server: Server) -> float:
    """GiB of disk that lie on the host: ephemeral and swap, and the root disk unless it is a volume."""
    root_gb = 0 if server.boot_from_volume else flavor.disk_gb
    return root_gb + flavor.ephemeral_gb + flavor.swap_mb / MB_PER_GB
