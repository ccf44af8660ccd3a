"""When each action of a plan is expected to start and to end, as the executor will go about it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from migrate.duration import MB_PER_GB, TimeModel
from migrate.limits import Limits, Place
from migrate.plan import Action, MigrateInput
from optimizer.solvers.scheduling import Task, Tasks, compiled, lower_bound, played, shortest


def timetable(actions: Sequence[Action], model: TimeModel, limits: Limits) -> Mapping[str, tuple[float, float]]:
    """Action uuid -> when it starts and ends, in seconds from the beginning, when nothing goes wrong and nobody else migrates.

    An action starts when its parents have ended and the limits allow it, those first that come first; its end is noticed at the next look
    (``poll_interval_s``). Migrations of a host share its bandwidth where it does not do for all of them, and it sends ``live_per_source`` at once
    (list scheduling: Graham, "Bounds on multiprocessing timing anomalies", SIAM J. Appl. Math. 17, 1969).
    """
    begin, end = played(_tasks(actions, model, limits), range(len(actions)))
    return {action.uuid: span for action, span in zip(actions, zip(begin.tolist(), end.tolist(), strict=True), strict=True)}


def timed(actions: Sequence[Action], model: TimeModel, limits: Limits) -> tuple[Action, ...]:
    """The actions with the moments that they are expected to start and to end."""
    spans = timetable(actions, model, limits)
    return tuple(replace(action, cost=replace(action.cost, start_s=round(begin, 3), end_s=round(end, 3)))
                 for action in actions for begin, end in [spans[action.uuid]])


def soonest(actions: Sequence[Action], model: TimeModel, limits: Limits, urgency: Mapping[str, int]) -> Sequence[int]:
    """The numbers of the actions in an order by which their timetable is short; parents come before those that wait for them.

    Servers of a lower ``urgency`` (by id), and what these wait for, go before others, and before those without one. Any order is safe, so that time
    decides otherwise; where that makes no difference the actions stay as they are.
    """
    return [int(number) for number in shortest(_tasks(actions, model, limits, urgency))]


def least_s(actions: Sequence[Action], model: TimeModel, limits: Limits) -> float:
    """Seconds before which the actions are not over in any order."""
    return lower_bound(_tasks(actions, model, limits))


def _tasks(actions: Sequence[Action], model: TimeModel, limits: Limits, urgency: Mapping[str, int] | None = None) -> Tasks:
    """The actions as a solver has them: hosts are links, limits are places; switching a service is no load, and takes no time."""
    number = {action.uuid: n for n, action in enumerate(actions)}
    links, places, room = dict[str, int](), dict[Place, int](), list[int]()
    ranks = urgency or {}
    others = max(ranks.values(), default=0) + 1
    tasks = []
    for action in actions:
        parents, what = [number[parent] for parent in action.parents], action.input_parameters
        if not isinstance(what, MigrateInput):
            tasks.append(Task(parents=parents, rank=others))
            continue
        taken = limits.places(what)
        for place, most in taken.items():
            if place not in places:
                places[place] = len(places)
                room.append(most)
        tasks.append(Task(
            parents=parents, rank=ranks.get(what.resource_id, others),
            setup_s=model.overhead_s(what.migration_type), work_s=action.cost.copy_gb * MB_PER_GB / model.bandwidth_mb_per_s,
            tail_s=model.handling_s,
            links=(links.setdefault(what.source_node, len(links)), links.setdefault(what.destination_node, len(links))),
            queued=what.migration_type == "live", places=[places[place] for place in taken]))
    return compiled(tasks, room, model.live_per_source, model.abreast, limits.poll_interval_s)
