"""When each action of a plan is expected to start and to end, as the executor will go about it."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from migrate.duration import MB_PER_GB, TimeModel, advance, rates
from migrate.limits import Limits, Traffic
from migrate.plan import Action, MigrateInput

_EPSILON_S = 1e-9


@dataclass(slots=True)
class _Flight:
    """A migration under way: what is left of its overhead and its copy."""

    uuid: str
    what: MigrateInput
    overhead_s: float
    copy_mb: float


def timetable(actions: Sequence[Action], model: TimeModel, limits: Limits) -> Mapping[str, tuple[float, float]]:
    """Action uuid -> when it starts and ends, in seconds from the beginning, when nothing goes wrong and nobody else migrates.

    An action starts when its parents have ended and the limits allow it, those first that come first; its end is noticed at the next look
    (``poll_interval_s``). Migrations that share a host share its bandwidth, and a host sends ``live_per_source`` at once (list scheduling: Graham,
    "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969).
    """
    children: dict[str, list[int]] = defaultdict(list)
    for number, action in enumerate(actions):
        for parent in action.parents:
            children[parent].append(number)
    waits_for = [len(action.parents) for action in actions]
    ready = [number for number, action in enumerate(actions) if not action.parents]
    flights: list[_Flight] = []
    begun: dict[str, float] = {}
    spans: dict[str, tuple[float, float]] = {}
    now = 0.0
    while ready or flights:
        traffic = Traffic(limits, [flight.what for flight in flights])
        later, ended = list[int](), list[str]()
        for number in sorted(ready):
            action, what = actions[number], actions[number].input_parameters
            if not isinstance(what, MigrateInput):
                ended.append(action.uuid)  # switching a service is no load, and takes no time
            elif traffic.admits(what):
                flights.append(_Flight(action.uuid, what, model.overhead_s(what.migration_type), action.cost.copy_gb * MB_PER_GB))
            else:
                later.append(number)
                continue
            begun[action.uuid] = now
        ready = later
        arrived, now = _next_look(flights, now, model, limits.poll_interval_s, at_once=bool(ended))
        flights = [flight for flight in flights if flight.uuid not in arrived]
        for uuid in (*ended, *arrived):
            spans[uuid] = (begun[uuid], now)
            for child in children[uuid]:
                waits_for[child] -= 1
                if not waits_for[child]:
                    ready.append(child)
    return spans


def timed(actions: Sequence[Action], model: TimeModel, limits: Limits) -> tuple[Action, ...]:
    """The actions with the moments that they are expected to start and to end."""
    spans = timetable(actions, model, limits)
    return tuple(replace(action, cost=replace(action.cost, start_s=round(begin, 3), end_s=round(end, 3)))
                 for action in actions for begin, end in [spans[action.uuid]])


def _next_look(flights: Sequence[_Flight], now: float, model: TimeModel, interval_s: float, *, at_once: bool) -> tuple[set[str], float]:
    """The migrations that have ended at the first look (``at_once``: the very next one) at which some have, and its moment."""
    moving, over = list(flights), set[str]()
    look = now + interval_s if at_once else math.inf
    while now < look - _EPSILON_S:
        speed = rates([flight.what for flight in moving], model)
        left = [flight.overhead_s + flight.copy_mb / rate if rate else math.inf for flight, rate in zip(moving, speed, strict=True)]
        step = min([*left, look - now])
        for flight, rate in zip(moving, speed, strict=True):
            flight.overhead_s, flight.copy_mb = advance(flight.overhead_s, flight.copy_mb, rate, step)
        now += step
        over |= {flight.uuid for flight, seconds in zip(moving, left, strict=True) if seconds <= step + _EPSILON_S}
        moving = [flight for flight in moving if flight.uuid not in over]
        if over:
            look = min(look, math.ceil((now - _EPSILON_S) / interval_s) * interval_s)
    return over, look
