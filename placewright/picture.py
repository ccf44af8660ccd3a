"""What the page draws: shares of hosts, and the geometry of the pictures made of them, in units of the view box."""

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
TIMELINE_WIDTH, GUTTER, LANE_HEIGHT, STRIP_HEIGHT, CURVE_HEIGHT = 1100.0, 130.0, 17.0, 9.0, 48.0
_MOST_LANES, _MOST_STRIPS = 60, 40
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
    """A migration in the timeline and when it was ``expected``; or what happened on a host meanwhile; or a moment (``box.width`` 0)."""

    box: Box
    state: str
    title: str
    label: str = ""
    expected: Box | None = None
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class Row:
    """A host in the timeline."""

    name: str
    y: float
    height: float
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Migrations over time: how many at once (paths, ``measured`` and ``expected``), and by host.

    ``detailed``: a bar for each, at the host it leaves; else a strip for each of the busiest of the ``hosts``, as dark as it was busy. ``moments``
    are service changes and what never ran.
    """

    rows: tuple[Row, ...]
    moments: tuple[Span, ...]
    measured: str
    expected: str
    most: int
    detailed: bool
    hosts: int
    ticks: tuple[tuple[float, str], ...]
    height: float


@dataclass(frozen=True, slots=True)
class _Flight:
    """A migration that ran: ``end_s`` is the end of the run where it had none."""

    done: ActionReport
    what: MigrateInput
    start_s: float
    end_s: float

    @property
    def title(self) -> str:
        cost = self.done.action.cost
        when = "" if cost.start_s is None or cost.end_s is None else f" (expected: {cost.start_s:.0f} to {cost.end_s:.0f} s)"
        return f"{self.done.action}: {self.done.state.lower()}, {self.start_s:.0f} to {self.end_s:.0f} s{when}"


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
    """When each migration ran and was expected to, at the host that it leaves; by how busy hosts were where that is too many."""
    planned = [(done.action.cost.start_s, done.action.cost.end_s) for done in actions if isinstance(done.action.input_parameters, MigrateInput)]
    expected = [(start, end) for start, end in planned if start is not None and end is not None]
    whole = max([seconds, 1.0, *(done.ended_s for done in actions if done.ended_s is not None), *(end for _, end in expected)])
    scale = (TIMELINE_WIDTH - GUTTER) / whole
    flights = [
        _Flight(done, what, done.started_s, seconds if done.ended_s is None else done.ended_s)
        for done in actions
        if isinstance(what := done.action.input_parameters, MigrateInput) and done.started_s is not None
    ]
    ran = [(flight.start_s, flight.end_s) for flight in flights]
    most = max((count for spans in (ran, expected) for _, _, count in _at_once(spans)), default=0)
    lanes = _lanes(flights)
    detailed = sum(len(some) for some in lanes.values()) <= _MOST_LANES
    rows = tuple(_bars(lanes, scale) if detailed else _strips(flights, scale))
    hosts = {host for flight in flights for host in flight.done.action.hosts}
    return Timeline(
        rows,
        tuple(_moments(actions, scale)),
        _curve(ran, scale, most),
        _curve(expected, scale, most),
        most,
        detailed,
        len(hosts),
        tuple((round(GUTTER + t * scale, 2), clock(t)) for t in _steps(whole)),
        sum(row.height for row in rows),
    )


def _lanes(flights: Sequence[_Flight]) -> dict[str, list[list[_Flight]]]:
    """Host -> migrations from it, side by side where they ran at once: a lane is reused as soon as it is free."""
    hosts: dict[str, list[list[_Flight]]] = {}
    for flight in sorted(flights, key=lambda flight: flight.start_s):
        lanes = hosts.setdefault(flight.what.source_node, [])
        free = next((lane for lane in lanes if lane[-1].end_s <= flight.start_s + 1e-6), None)
        if free is None:
            lanes.append([flight])
        else:
            free.append(flight)
    return hosts


def _bars(hosts: Mapping[str, Sequence[Sequence[_Flight]]], scale: float) -> Iterator[Row]:
    y = 0.0
    for host, lanes in hosts.items():
        spans = [_bar(flight, y + number * LANE_HEIGHT, scale) for number, lane in enumerate(lanes) for flight in lane]
        yield Row(_short(host, GUTTER - 10), y, len(lanes) * LANE_HEIGHT, tuple(spans))
        y += len(lanes) * LANE_HEIGHT


def _bar(flight: _Flight, y: float, scale: float) -> Span:
    cost = flight.done.action.cost
    box = _stretch(flight.start_s, flight.end_s, y + 1, LANE_HEIGHT - 5, scale)
    planned = None if cost.start_s is None or cost.end_s is None else _stretch(cost.start_s, cost.end_s, y + LANE_HEIGHT - 4, 2, scale)
    names = (f"{flight.what.resource_name} → {flight.what.destination_node}", flight.what.resource_name)
    return Span(box, flight.done.state, flight.title, next((name for name in names if len(name) * _LETTER < box.width - 8), ""), planned)


def _strips(flights: Sequence[_Flight], scale: float) -> Iterator[Row]:
    """The hosts with the most seconds of migrations, from them or to them; before them those where one failed."""
    touching: dict[str, list[_Flight]] = {}
    for flight in flights:
        for host in flight.done.action.hosts:
            touching.setdefault(host, []).append(flight)

    def rank(item: tuple[str, list[_Flight]]) -> tuple[bool, float, str]:
        return all(one.done.state != "FAILED" for one in item[1]), -sum(one.end_s - one.start_s for one in item[1]), item[0]

    busiest = sorted(touching.items(), key=rank)[:_MOST_STRIPS]
    stretches = {host: list(_at_once([(one.start_s, one.end_s) for one in some])) for host, some in busiest}
    most = max(count for some in stretches.values() for _, _, count in some)
    for number, (host, some) in enumerate(busiest):
        spans = []
        for start, end, count in stretches[host]:
            states = {one.done.state for one in some if one.start_s < end and start < one.end_s}
            state = next((state for state in ("FAILED", "ONGOING") if state in states), "SUCCEEDED")
            title = f"{host}: {count} at once, {start:.0f} to {end:.0f} s"
            spans.append(Span(_stretch(start, end, number * STRIP_HEIGHT + 1, STRIP_HEIGHT - 2, scale), state, title,
                              strength=round(0.5 + 0.5 * count / most, 2)))
        yield Row(_short(host, GUTTER - 10), number * STRIP_HEIGHT, STRIP_HEIGHT, tuple(spans))


def _moments(actions: Sequence[ActionReport], scale: float) -> Iterator[Span]:
    for done in actions:
        never = done.started_s is None or not isinstance(done.action.input_parameters, MigrateInput)
        if never and done.ended_s is not None:
            title = f"{done.action}: {done.state.lower()} at {done.ended_s:.0f} s. {done.text}"
            yield Span(_stretch(done.ended_s, done.ended_s, 0, 0, scale), done.state, title)


def _stretch(start_s: float, end_s: float, y: float, height: float, scale: float) -> Box:
    width = max(1.5, (end_s - start_s) * scale - 1) if end_s > start_s else 0.0
    return Box(round(GUTTER + start_s * scale, 2), y, round(width, 2), height)


def _at_once(spans: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float, int]]:
    """From when to when how many of some spans run, for each stretch in which some do."""
    changes: dict[float, int] = {}
    for start, end in spans:
        changes[start] = changes.get(start, 0) + 1
        changes[end] = changes.get(end, 0) - 1
    count, since = 0, 0.0
    for moment in sorted(changes):
        if changes[moment]:
            if count:
                yield since, moment, count
            count, since = count + changes[moment], moment


def _curve(spans: Sequence[tuple[float, float]], scale: float, most: int) -> str:
    """A path along how many run at once."""
    points, last = [f"M{GUTTER} {CURVE_HEIGHT}"], 0.0
    for start, end, count in _at_once(spans):
        x, y = round(GUTTER + start * scale, 2), round(CURVE_HEIGHT * (1 - count / most), 2)
        points.append(f"H{x}V{y}H{round(GUTTER + end * scale, 2)}" if start == last else f"V{CURVE_HEIGHT}H{x}V{y}H{round(GUTTER + end * scale, 2)}")
        last = end
    return "".join([*points, f"V{CURVE_HEIGHT}"]) if len(points) > 1 else ""


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
