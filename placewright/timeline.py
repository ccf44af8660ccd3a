"""What the page draws along the time of an execution: when each migration ran, and the load of hosts meanwhile, in units of the view box."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from migrate.executor import ActionReport
from migrate.plan import MigrateInput
from optimizer.cluster import Cluster, Server
from optimizer.load import Metric
from placewright.picture import LETTER, Box, axis_end, clock, has_load, percent_used, short

TIMELINE_WIDTH, GUTTER, LANE_HEIGHT, STRIP_HEIGHT, CURVE_HEIGHT = 1100.0, 130.0, 17.0, 9.0, 48.0
COURSE_WIDTH, COURSE_NAMES, COURSE_FIGURES, COURSE_HEIGHT, COURSE_GAP = 540.0, 90.0, 100.0, 18.0, 6.0
_MOST_LANES, _MOST_STRIPS, _MOST_COURSES = 60, 40, 24


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


@dataclass(frozen=True, slots=True)
class Course:
    """The load of a host over time: an area from ``y`` downwards, and its figures."""

    name: str
    y: float
    area: str
    figures: str
    title: str


@dataclass(frozen=True, slots=True)
class Courses:
    """The load of hosts over time, those it changed most of first, of all ``hosts`` where it changed; ``limit`` is in each of them.

    A row is as high as ``top`` percent.
    """

    rows: tuple[Course, ...]
    hosts: int
    top: float
    limit: float | None
    ticks: tuple[tuple[float, str], ...]
    height: float


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
        tuple((round(GUTTER + t * scale, 2), clock(t)) for t in _steps(whole, 10)),
        sum(row.height for row in rows),
    )


def courses(before: Cluster, after: Cluster, actions: Sequence[ActionReport], seconds: float, metric: Metric, limit_percent: float | None) -> Courses:
    """The load of hosts over time, a server's being that of before; it is where it runs, so that it goes over when its migration ends.

    A server begins where the first of its migrations found it: when a plan goes on, ``before`` has the first part behind it.
    """
    measured = has_load(before, after)
    ended = [(done.ended_s, done.action.input_parameters) for done in actions if done.state == "SUCCEEDED" and done.ended_s is not None]
    moves = sorted(((end, what) for end, what in ended if isinstance(what, MigrateInput)), key=lambda move: move[0])
    began = {what.resource_id: what.source_node for _, what in reversed(moves)}
    there: dict[str, dict[str, Server]] = {host.name: {} for host in before.hosts}
    for server in before.servers:
        there.get(began.get(server.id, server.host), {})[server.id] = server
    carried = {host: len(some) for host, some in there.items()}
    steps: dict[str, list[tuple[float, float]]] = {}
    for end, what in moves:
        moved = before.server_by_id.get(what.resource_id)
        for host in (what.source_node, what.destination_node):
            known = before.host_by_name.get(host)
            if moved is None or known is None:  # they came after the plan had begun
                continue
            course = steps.setdefault(host, [(0.0, percent_used(known, there[host].values(), metric, measured))])
            there[host].pop(moved.id, None)
            if host == what.destination_node:
                there[host][moved.id] = moved
            course.append((end, percent_used(known, there[host].values(), metric, measured)))
    whole = max([seconds, 1.0, *(end for end, _ in moves)])
    scale = (COURSE_WIDTH - COURSE_NAMES - COURSE_FIGURES) / whole
    most = sorted(steps.items(), key=lambda item: (min(load for _, load in item[1]) - max(load for _, load in item[1]), item[0]))[:_MOST_COURSES]
    top = axis_end(load for _, course in most for _, load in course)
    rows = []
    for number, (host, course) in enumerate(most):
        first, last, highest = course[0][1], course[-1][1], max(load for _, load in course)
        path = "".join(f"H{COURSE_NAMES + at * scale:.2f}V{COURSE_HEIGHT * (1 - load / top):.2f}" for at, load in course)
        rows.append(Course(
            short(host, COURSE_NAMES - 6), number * (COURSE_HEIGHT + COURSE_GAP),
            f"M{COURSE_NAMES} {COURSE_HEIGHT}{path}H{COURSE_NAMES + whole * scale:.2f}V{COURSE_HEIGHT}Z", f"{first:.0f} → {last:.0f} %",
            f"{host}: {first:.0f} % -> {last:.0f} %, at most {highest:.0f} %, {carried[host]} -> {len(there[host])} servers"))
    limit = None if limit_percent is None or not 0 < limit_percent < top else round(COURSE_HEIGHT * (1 - limit_percent / top), 2)
    ticks = tuple((round(COURSE_NAMES + at * scale, 2), clock(at)) for at in _steps(whole, 4))
    return Courses(tuple(rows), len(steps), top, limit, ticks, len(rows) * (COURSE_HEIGHT + COURSE_GAP))


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
        yield Row(short(host, GUTTER - 10), y, len(lanes) * LANE_HEIGHT, tuple(spans))
        y += len(lanes) * LANE_HEIGHT


def _bar(flight: _Flight, y: float, scale: float) -> Span:
    cost = flight.done.action.cost
    box = _stretch(flight.start_s, flight.end_s, y + 1, LANE_HEIGHT - 5, scale)
    planned = None if cost.start_s is None or cost.end_s is None else _stretch(cost.start_s, cost.end_s, y + LANE_HEIGHT - 4, 2, scale)
    names = (f"{flight.what.resource_name} → {flight.what.destination_node}", flight.what.resource_name)
    return Span(box, flight.done.state, flight.title, next((name for name in names if len(name) * LETTER < box.width - 8), ""), planned)


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
        yield Row(short(host, GUTTER - 10), number * STRIP_HEIGHT, STRIP_HEIGHT, tuple(spans))


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


def _steps(whole: float, most: int) -> Iterator[float]:
    """Round moments, so many at most and the beginning."""
    sizes = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    size = next((s for s in sizes if whole / s <= most), max(86400, math.ceil(whole / most)))
    return (n * size for n in range(int(whole // size) + 1))
