"""The one way to solve a problem: local search first, then the exact solver on all of it or on parts of it."""

import time

import numpy as np

from optimizer.arrays import Index
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.problem import Problem, better
from optimizer.result import LevelResult, Result, Status, Step
from optimizer.solvers import bounds, levelling, levelling_bound, lns, local_search, patterns, repair
from optimizer.solvers.cp_sat import Scope, check_objectives, size, solve_cp_sat
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled, compile_problem

EXACT_UP_TO = 30_000
"""0/1 variables up to which the whole problem is given to CP-SAT; beyond, a model takes longer to build than it pays."""

LEVELLED_BEYOND = 4_000
"""The same for problems of levelling, which finds and proves more than CP-SAT does in all but tiny ones."""


class IllegalResult(RuntimeError):
    """A solver returned a placement that a checker rejects: a defect, never the operator's fault."""


def solve(problem: Problem, stop: Stop, seed: int = 0, threads: int = 1) -> Result:
    """The best legal placement found until ``stop``, with proven bounds; every result has passed the independent checkers.

    The present placement is the start, so there always is a result. Deterministic for a seed and one thread
    as long as time does not run out. Raises PlacewrightError for a rule or objective without encoding, IllegalResult on a defect.
    """
    begin = time.monotonic()
    stop.started()
    compiled = compile_problem(problem)
    check_objectives(compiled)
    search = _Search(compiled, begin)
    if repair.applies(compiled):
        repair.improve(compiled, search.where, stop, lambda where: search.offer("repair", where))
        reached = bounds.level_bounds(compiled, search.values)
        if all(bound is not None and value - bound <= 1e-9 for value, bound in zip(search.values, reached, strict=True)):
            return search.result(reached, True)
    summed: tuple[float | None, ...] = (None,) * len(problem.levels)
    if levelling.applies(compiled):
        levelling.improve(compiled, search.where, stop, seed, lambda where: search.offer("levelling", where))
        summed = levelling_bound.level_bounds(compiled, search.where, stop)
        if search.meets(summed) or size(compiled) > LEVELLED_BEYOND:
            return search.result(summed, search.meets(summed))
    if patterns.applies(compiled):
        exact = patterns.solve_patterns(compiled, stop, seed, lambda where: search.offer("patterns", where))
        if exact is not None and exact.proven:
            return search.result(exact.bounds, True)
        summed = summed if exact is None else exact.bounds
    _local_search(search, stop)
    movable = compiled.arrays.movable
    proven, level_bounds = False, bounds.level_bounds(compiled, search.values)
    if not movable.any():
        proven, level_bounds = True, search.values
    elif size(compiled) <= EXACT_UP_TO:
        everything = Scope(servers=movable, hosts=np.ones(len(compiled.arrays.room), dtype=np.bool_))
        answer = solve_cp_sat(compiled, search.where, everything, stop, seed, threads)
        search.offer("cp_sat", answer.where)
        proven = answer.proven
        level_bounds = tuple(_greater(a, b) for a, b in zip(answer.bounds, level_bounds, strict=True))
    else:
        lns.improve(compiled, search.where, stop, seed, threads, lambda where: search.offer("lns", where))
    return search.result(tuple(_greater(a, b) for a, b in zip(level_bounds, summed, strict=True)), proven)


def _local_search(search: "_Search", stop: Stop) -> None:
    state = local_search.State(search.compiled, search.where)
    if any(isinstance(term.objective, HostsInUse) for level in search.compiled.problem.levels for term in level):
        local_search.evacuate(state, stop)  # no single move empties a host
    local_search.descend(state, stop)
    search.offer("local_search", state.now.where.copy())


def _greater(first: float | None, second: float | None) -> float | None:
    known = [bound for bound in (first, second) if bound is not None]
    return max(known) if known else None


class _Search:
    """The best placement so far and how it came about."""

    def __init__(self, compiled: Compiled, begin: float) -> None:
        self.compiled, self.begin = compiled, begin
        self.where: Index = compiled.arrays.start
        self.values = compiled.problem.values(compiled.arrays.placement(self.where))
        self.trace = [Step(0.0, "present", self.values)]

    def offer(self, solver: str, where: Index) -> None:
        """Take over a placement when it is better; raises IllegalResult when a checker rejects it."""
        placement = self.compiled.arrays.placement(where)
        values = self.compiled.problem.values(placement)
        if not better(values, self.values):
            return
        if found := self.compiled.problem.breaches(placement):
            raise IllegalResult(f"{solver}: {len(found)} breaches, first {found[0].rule}: {found[0].text}")
        self.where, self.values = where, values
        self.trace.append(Step(time.monotonic() - self.begin, solver, values))

    def meets(self, level_bounds: tuple[float | None, ...]) -> bool:
        """Whether every level is as good as its bound."""
        return all(bound is not None and value - bound <= 1e-9 for value, bound in zip(self.values, level_bounds, strict=True))

    def result(self, level_bounds: tuple[float | None, ...], proven: bool) -> Result:
        """The end of the search as a Result; a bound above the value by rounding is lowered to it."""
        levels = tuple(LevelResult(value, None if bound is None else min(bound, value))
                       for value, bound in zip(self.values, level_bounds, strict=True))
        status = Status.OPTIMAL if proven else Status.FEASIBLE
        return Result(status, self.compiled.arrays.placement(self.where), levels, tuple(self.trace))
