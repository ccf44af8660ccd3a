"""The exact solver: the whole problem, or a few hosts of it, by CP-SAT (OR-Tools).

Levels are solved one after the other, each with the values of those before as constraints.
Reference: https://developers.google.com/optimization/cp/cp_solver.
"""

import math
from dataclasses import dataclass

from ortools.sat.python import cp_model

from optimizer.arrays import Index
from optimizer.errors import PlacewrightError
from optimizer.problem import Level
from optimizer.solvers.cp_sat_model import Encoded, Model, Scope, build
from optimizer.solvers.cp_sat_terms import TERMS, weighted
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

_MEET = 1e-9  # a value and its bound that are as near as this have met; so says optimizer.problem.better
_WORK = 10.0  # of a model when iterations are counted, in CP-SAT's deterministic seconds


class ModelError(RuntimeError):
    """CP-SAT rejects a model, or calls one infeasible that has a known solution: a defect, never the operator's fault."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Host of each server (S); for each level its proven lower bound, None where a level before it was not proven."""

    where: Index
    bounds: tuple[float | None, ...]
    proven: bool


def solver_for(stop: Stop, limit_s: float, work: float, threads: int = 1) -> cp_model.CpSolver:
    """A solver that stops after so many seconds; where iterations count, after the same ``work`` in the same order each time."""
    solver = cp_model.CpSolver()
    if stop.iterations_left() is None:
        solver.parameters.max_time_in_seconds = max(0.05, limit_s)
    else:
        solver.parameters.max_deterministic_time = work
        solver.parameters.interleave_search = True
    solver.parameters.num_workers = threads
    solver.parameters.catch_sigint_signal = False  # it would keep Ctrl-C for itself, and give the signal back to nobody
    return solver


def size(compiled: Compiled) -> int:
    """How many 0/1 variables the whole problem needs."""
    arrays = compiled.arrays
    reach = arrays.eligible.sum(axis=1)[arrays.server_class] * arrays.seats.sum(axis=1)
    return int((reach + (reach > 0)).sum())


def solve_cp_sat(compiled: Compiled, incumbent: Index, scope: Scope, stop: Stop, seed: int, threads: int,
                 limit_s: float | None = None) -> Answer:
    """The best placement within a scope, starting from a legal incumbent; ``limit_s`` bounds this call alone."""
    model = build(compiled, incumbent, scope)
    where, proven, exact, spent = incumbent, True, True, 0.0
    bounds: list[float | None] = []
    for number, level in enumerate(compiled.problem.levels):
        goal = _goal(model, level, compiled.problem.values(compiled.arrays.placement(where))[number])
        model.cp.minimize(goal.sum)
        model.cp.clear_hints()  # type: ignore[no-untyped-call]
        for s, options in model.at.items():
            for h, variable in options.items():
                model.cp.add_hint(variable, int(where[s] == h))
        left = min(stop.remaining_s(), (limit_s or float("inf")) - spent)
        share = left if number == len(compiled.problem.levels) - 1 else left * 0.7
        solver = solver_for(stop, share, _WORK if limit_s is None else limit_s, threads)
        solver.parameters.random_seed = seed
        status = solver.solve(model.cp)
        spent += solver.wall_time
        if status in (cp_model.MODEL_INVALID, cp_model.INFEASIBLE):  # the incumbent is a solution, so neither can be
            raise ModelError(f"level {number}: {solver.status_name(status)} {model.cp.validate()}")
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            bounds += [None] * (len(compiled.problem.levels) - number)
            return Answer(where, tuple(bounds), False)
        where = where.copy()
        for s, options in model.at.items():
            where[s] = next(h for h, variable in options.items() if solver.value(variable))
        # Once a level was rounded, an equally good placement may be shut out of the next: nothing is known of all of them.
        bound = max(0.0, (solver.best_objective_bound - goal.above) / goal.scale) if proven and exact else None
        bounds.append(bound)
        proven = bound is not None and compiled.problem.values(compiled.arrays.placement(where))[number] - bound <= _MEET
        exact = exact and goal.above == 0
        model.cp.add(goal.sum <= solver.value(goal.sum))
    return Answer(where, tuple(bounds), proven)


def _goal(model: Model, level: Level, known: float) -> Encoded:
    """A level, of which a placement with the value ``known`` is known."""
    terms = []
    for term in level:
        model.most = known / term.weight if term.weight > 0 and all(other.weight >= 0 for other in level) else math.inf
        terms.append((term.weight, TERMS[type(term.objective)](model, term.objective)))
    return weighted(terms, known)


def check_objectives(compiled: Compiled) -> None:
    """Raise PlacewrightError for an objective that has no encoding."""
    for level in compiled.problem.levels:
        for term in level:
            if type(term.objective) not in TERMS:
                known = ", ".join(sorted(kind.name for kind in TERMS))
                raise PlacewrightError(f"objective {term.objective.name} has no solver encoding; there are encodings for {known}")
