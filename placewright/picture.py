"""What the page draws: shares of hosts, and the geometry of the pictures made of them, in units of the view box."""

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrate.executor import ActionReport
from migrate.plan import MigrateInput
from optimizer.cluster import Cluster, Host
from optimizer.load import Metric, host_capacity, host_load
from optimizer.placement import placement_of

SKYLINE_WIDTH, ROW_HEIGHT, AXIS = 780.0, 104.0, 40.0
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 300.0, 234.0
TIMELINE_WIDTH, LANE_HEIGHT = 1100.0, 15.0
_WIDEST_BAR, _NAMED_UP_TO = 56.0, 16
_LETTER = 6.2  # the width of a letter in the pictures
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


@dataclass(frozen=True, slots=True)
class Span:
    """A migration in the timeline, or a moment (``box.width`` 0) for what took no time."""

    box: Box
    state: str
    title: str
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """Migrations over time, in as few lanes as ran at once; ``moments`` are service changes and what never ran."""

    spans: tuple[Span, ...]
    moments: tuple[Span, ...]
    lanes: int
    ticks: tuple[tuple[float, str], ...]
    height: float


def host_shares(before: Cluster, after: Cluster, metric: Metric) -> list[HostShare]:
    """Load of every host of either cluster; by allocation when one of them has no load."""
    measured = before.load is not None and after.load is not None
    shares = [_measured(cluster, metric) if measured else _allocated(cluster, metric) for cluster in (before, after)]
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


def _measured(cluster: Cluster, metric: Metric) -> dict[str, float]:
    load = host_load(cluster, placement_of(cluster), metric)
    return {host.name: _percent(load[host.name], host_capacity(host, metric)) for host in cluster.hosts}


def _allocated(cluster: Cluster, metric: Metric) -> dict[str, float]:
    def share(host: Host) -> float:
        used = sum(
            server.resources.get(name, 0) for server in cluster.servers_on[host.name] for name in _ALLOCATED[metric]
        )
        held = sum(host.held.get(name, 0) for name in _ALLOCATED[metric])
        return _percent(
            used + held, sum(host.inventory[name].capacity for name in _ALLOCATED[metric] if name in host.inventory)
        )

    return {host.name: share(host) for host in cluster.hosts}


def _percent(amount: float, capacity: float) -> float:
    return 100 * amount / capacity if capacity else 0.0


def _top(shares: Sequence[HostShare]) -> float:
    """The end of the percent axis: 100, or a round number above the highest load."""
    highest = max((max(share.before, share.after) for share in shares), default=0.0)
    if highest <= 100.5:
        return 100.0
    step = 50 if highest <= 400 else 10 ** math.floor(math.log10(highest))
    return float(step * math.ceil(highest / step))


def skyline(shares: Sequence[HostShare], limit_percent: float | None) -> Skyline:
    """Hosts from the most to the least loaded, those that were emptied at the right end."""
    ordered = sorted(shares, key=lambda share: (share.emptied, -share.before, -share.after, share.name))
    top = _top(shares)
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
                label=_short(share.name, step),
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


def _short(name: str, room: float) -> str:
    letters = max(3, int(room / _LETTER))
    return name if len(name) <= letters else f"{name[: letters - 1]}…"


def histogram(shares: Sequence[HostShare]) -> tuple[Bin, ...]:
    """How many hosts are how loaded: ten ranges up to the end of the axis, and empty hosts before them."""
    size = _top(shares) / 10
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


def timeline(actions: Sequence[ActionReport], seconds: float) -> Timeline:
    """When each migration ran: a lane is reused as soon as it is free."""
    whole = max([seconds, 1.0, *(done.ended_s for done in actions if done.ended_s is not None)])
    scale = TIMELINE_WIDTH / whole
    spans, moments = [], []
    free: list[tuple[float, int]] = []  # (when it is free, lane)
    lanes = 0
    ran = [
        done
        for done in actions
        if done.started_s is not None and isinstance(done.action.input_parameters, MigrateInput)
    ]
    for done in sorted(ran, key=lambda done: done.started_s or 0.0):
        start, end = done.started_s or 0.0, whole if done.ended_s is None else done.ended_s
        if free and free[0][0] <= start + 1e-6:
            lane = heapq.heappop(free)[1]
        else:
            lane, lanes = lanes, lanes + 1
        heapq.heappush(free, (end, lane))
        width = max(1.5, (end - start) * scale - 1)
        name = (
            done.action.input_parameters.resource_name if isinstance(done.action.input_parameters, MigrateInput) else ""
        )
        spans.append(
            Span(
                Box(round(start * scale, 2), lane * LANE_HEIGHT, round(width, 2), LANE_HEIGHT - 2),
                done.state,
                f"{done.action}: {done.state.lower()}, {start:.0f} to {end:.0f} s",
                name if len(name) * _LETTER < width - 6 else "",
            )
        )
    for done in actions:
        moment = (
            done.ended_s
            if done.started_s is None or not isinstance(done.action.input_parameters, MigrateInput)
            else None
        )
        if moment is not None:
            moments.append(
                Span(
                    Box(round(moment * scale, 2), 0, 0, 0),
                    done.state,
                    f"{done.action}: {done.state.lower()} at {moment:.0f} s. {done.text}",
                    "",
                )
            )
    ticks = tuple((round(t * scale, 2), clock(t)) for t in _steps(whole))
    return Timeline(tuple(spans), tuple(moments), lanes, ticks, lanes * LANE_HEIGHT)


def _steps(whole: float) -> Iterator[float]:
    """Round moments, at most ten."""
    sizes = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    size = next((s for s in sizes if whole / s <= 10), max(86400, math.ceil(whole / 10)))
    return (n * size for n in range(int(whole // size) + 1))


def clock(seconds: float) -> str:
    """A time span as people write it: 44 s, 14 min 16 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    return f"{whole // 3600} h" + (f" {whole % 3600 // 60} min" if whole % 3600 >= 60 else "")
