"""What the page draws: shares of hosts, and the geometry of the pictures made of them, in units of the view box."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from optimizer.cluster import Cluster, Host, Server
from optimizer.load import Metric, host_capacity, server_load

SKYLINE_WIDTH, ROW_HEIGHT, AXIS = 780.0, 104.0, 40.0
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 300.0, 234.0
_WIDEST_BAR, _NAMED_UP_TO = 56.0, 16
LETTER = 6.2  # the width of a letter in the pictures
_ALLOCATED: Mapping[Metric, tuple[str, ...]] = {"cpu": ("VCPU", "PCPU"), "memory": ("MEMORY_MB",)}


@dataclass(frozen=True, slots=True)
class HostShare:
    """Load / capacity of a host in percent, before and after; ``emptied`` when its last server left."""

    name: str
    before: float
    after: float
    servers_before: int
    servers_after: int
    closed: bool

    @property
    def emptied(self) -> bool:
        """Whether it carried servers before and carries none now."""
        return self.servers_before > 0 and self.servers_after == 0


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: its upper left corner, width and height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A host in the skyline: ``before``; and after it what is ``kept`` of that, ``gained`` on top, or ``lost``."""

    title: str
    label: str
    middle: float
    before: Box
    kept: Box
    gained: Box | None
    lost: Box | None


@dataclass(frozen=True, slots=True)
class Skyline:
    """Two rows of bars, a bar for each host, before above after; ``emptied`` spans the hosts that were emptied."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    limit: float | None
    emptied: Box | None
    emptied_count: int
    named: bool


@dataclass(frozen=True, slots=True)
class Bin:
    """Hosts of one range of load: how many before and after, as numbers and as bars."""

    label: str
    before: int
    after: int
    before_box: Box
    after_box: Box


def host_shares(before: Cluster, after: Cluster, metric: Metric) -> list[HostShare]:
    """Load of every host of either cluster; by allocation when one of them has no load."""
    measured = has_load(before, after)
    shares = [{host.name: percent_used(host, cluster.servers_on[host.name], metric, measured) for host in cluster.hosts}
              for cluster in (before, after)]
    names = dict.fromkeys(host.name for cluster in (before, after) for host in cluster.hosts)
    return [
        HostShare(
            name,
            shares[0].get(name, 0.0),
            shares[1].get(name, 0.0),
            len(before.servers_on.get(name, ())),
            len(after.servers_on.get(name, ())),
            name in after.host_by_name and not after.host_by_name[name].available,
        )
        for name in names
    ]


def has_load(before: Cluster, after: Cluster) -> bool:
    """Whether both have it; else allocation takes its place."""
    return before.load is not None and after.load is not None


def percent_used(host: Host, servers: Iterable[Server], metric: Metric, measured: bool) -> float:
    """Load / capacity of a host with these servers in percent, or what is allocated of it."""
    if measured:
        used, capacity = sum(server_load(server, metric) for server in servers), host_capacity(host, metric)
    else:
        names = _ALLOCATED[metric]
        used = sum(server.resources.get(name, 0) for server in servers for name in names) + sum(host.held.get(name, 0) for name in names)
        capacity = sum(host.inventory[name].capacity for name in names if name in host.inventory)
    return 100 * used / capacity if capacity else 0.0


def axis_end(loads: Iterable[float]) -> float:
    """The end of the percent axis: 100, or a round number above the highest load."""
    highest = max(loads, default=0.0)
    if highest <= 100.5:
        return 100.0
    step = 50 if highest <= 400 else 10 ** math.floor(math.log10(highest))
    return float(step * math.ceil(highest / step))


def skyline(shares: Sequence[HostShare], limit_percent: float | None) -> Skyline:
    """Hosts from the most to the least loaded, those that were emptied at the right end."""
    ordered = sorted(shares, key=lambda share: (share.emptied, -share.before, -share.after, share.name))
    top = axis_end(max(one.before, one.after) for one in shares)
    step = (SKYLINE_WIDTH - AXIS) / max(1, len(ordered))
    width = min(_WIDEST_BAR, step - 1 if step >= 4 else step * 0.86 if step >= 2 else step + 0.15)
    named = len(ordered) <= _NAMED_UP_TO
    bars = []
    for number, share in enumerate(ordered):
        x = AXIS + number * step + (step - width) / 2

        def box(low: float, high: float, x: float = x) -> Box:
            return Box(
                round(x, 2),
                round(ROW_HEIGHT * (1 - high / top), 2),
                round(width, 2),
                round(ROW_HEIGHT * (high - low) / top, 2),
            )

        more, less = share.after - share.before > 0.05, share.before - share.after > 0.05
        state = ", closed" if share.closed else ""
        bars.append(
            Bar(
                title=f"{share.name}: {share.before:.0f} % -> {share.after:.0f} %, "
                f"{share.servers_before} -> {share.servers_after} servers{state}",
                label=short(share.name, step),
                middle=round(x + width / 2, 2),
                before=box(0, share.before),
                kept=box(0, min(share.before, share.after)),
                gained=box(share.before, share.after) if more else None,
                lost=box(share.after, share.before) if less else None,
            )
        )
    count = sum(share.emptied for share in ordered)
    left = AXIS + (len(ordered) - count) * step
    ticks = tuple((round(ROW_HEIGHT * (1 - part), 2), f"{top * part:.0f} %") for part in (0, 0.5, 1))
    limit = (
        None
        if limit_percent is None or not 0 < limit_percent < top
        else round(ROW_HEIGHT * (1 - limit_percent / top), 2)
    )
    return Skyline(
        tuple(bars),
        ticks,
        limit,
        Box(round(left, 2), 0, round(count * step, 2), ROW_HEIGHT) if count else None,
        count,
        named,
    )


def short(name: str, room: float) -> str:
    """As much of a name as there is room for."""
    letters = max(3, int(room / LETTER))
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def histogram(shares: Sequence[HostShare]) -> tuple[Bin, ...]:
    """How many hosts are how loaded: ten ranges up to the end of the axis, and empty hosts before them."""
    size = axis_end(max(one.before, one.after) for one in shares) / 10
    counts = {-1: [0, 0], **{n: [0, 0] for n in range(10)}}
    for share in shares:
        for side, (percent, servers) in enumerate(
            ((share.before, share.servers_before), (share.after, share.servers_after))
        ):
            # A range holds its upper end: a host at exactly 100 % belongs to 90 to 100.
            counts[-1 if not servers else min(9, max(0, math.ceil(percent / size - 1e-9) - 1))][side] += 1
    tallest = max((max(pair) for pair in counts.values()), default=0) or 1
    step = HISTOGRAM_WIDTH / len(counts)

    def box(slot: int, side: int, count: int) -> Box:
        height = HISTOGRAM_HEIGHT * count / tallest
        return Box(
            round(slot * step + step * (0.14 + 0.36 * side), 2),
            round(HISTOGRAM_HEIGHT - height, 2),
            round(step * 0.36, 2),
            round(height, 2),
        )

    return tuple(
        Bin(
            "empty" if n < 0 else f"{n * size:.0f} to {(n + 1) * size:.0f} %",
            before,
            after,
            box(slot, 0, before),
            box(slot, 1, after),
        )
        for slot, (n, (before, after)) in enumerate(counts.items())
    )


def clock(seconds: float) -> str:
    """A time span as people write it: 44 s, 14 min 16 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")
