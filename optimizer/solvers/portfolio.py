"""The one way to solve a problem: stages in a fixed order, each for the problems it applies to, until the best is proven or the budget spent."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from optimizer.arrays import Index
from optimizer.objectives.host_cost import HostCost
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.problem import Problem, better
from optimizer.result import LevelResult, Result, Status, Step
from optimizer.solvers import annealing, bounds, emptying, levelling, levelling_bound, lns, local_search, mending, patterns, repair
from optimizer.solvers.cp_sat import check_objectives, size, solve_cp_sat
from optimizer.solvers.cp_sat_model import everything
from optimizer.solvers.stop import Part, Stop
from optimizer.solvers.terms import Compiled, compile_problem

EXACT_UP_TO = 30_000
"""0/1 variables up to which the whole problem is given to CP-SAT; beyond, a model takes longer to build than it pays."""

SPECIAL_BEYOND = 4_000
"""The same for problems of levelling and emptying: their solvers find and prove more than CP-SAT does in all but tiny ones."""

_NEARLY = 0.01  # share of the value that is not worth a search through neighbourhoods where hosts are to be emptied

_ALMOST = 1e-4  # share of the value that is not worth the rest of the time

_MET = 1e-9  # a value and its bound that are as near as this have met

Bounds = tuple[float | None, ...]
"""A proven lower bound for each level, None where nothing is known. A later level's holds where those before are met."""


class IllegalResult(RuntimeError):
    """A solver returned a placement that a checker rejects: a defect, never the operator's fault."""


def solve(problem: Problem, stop: Stop, seed: int = 0, threads: int = 1) -> Result:
    """The best legal placement found until ``stop``, with proven bounds; every result has passed the independent checkers.

    The present placement is the start, so there always is a result. Deterministic for a seed and a number of threads when ``stop`` counts
    iterations. Raises PlacewrightError for a rule or objective without encoding, IllegalResult on a defect.
    """
    begin = time.monotonic()
    stop.started()
    compiled = compile_problem(problem)
    check_objectives(compiled)
    search = _Search(compiled, stop, seed, threads, begin)
    for stage in STAGES:
        if search.proven or stop.remaining_s() <= 0:
            break
        if stage.applies(search):
            search.learn(stage.run(search))
            search.check(stage.name)
    return search.result()


class _Search:
    """The best placement so far, how it came about, and what is proven."""

    def __init__(self, compiled: Compiled, stop: Stop, seed: int, threads: int, begin: float) -> None:
        self.compiled, self.stop, self.seed, self.threads, self.begin = compiled, stop, seed, threads, begin
        self.where: Index = compiled.arrays.start
        self.values = compiled.problem.values(compiled.arrays.placement(self.where))
        self.bounds: list[float | None] = [None] * len(self.values)
        self.trace = [Step(0.0, "present", self.values)]
        self.checked = self.where
        self.check_s = time.monotonic() - begin  # compiling the rules takes about as long as checking them

    def offers(self, solver: str) -> Callable[[Index], None]:
        """A way for a solver to tell what it found."""
        return lambda where: self.offer(solver, where)

    def offer(self, solver: str, where: Index) -> None:
        """Take over a placement when it is better."""
        values = self.compiled.problem.values(self.compiled.arrays.placement(where))
        if not better(values, self.values):
            return
        first = next(n for n, (new, old) in enumerate(zip(values, self.values, strict=True)) if abs(new - old) > _MET)
        self.bounds[first + 1:] = [None] * len(self.bounds[first + 1:])  # they held among placements that were as good as the old one
        self.where, self.values = where.copy(), values
        self.trace.append(Step(time.monotonic() - self.begin, solver, values))

    def learn(self, found: Bounds) -> None:
        """Take over what a stage proved; of a later level only as long as the levels before are met."""
        for n, (bound, known, value) in enumerate(zip(found, self.bounds, self.values, strict=True)):
            if bound is not None and (known is None or bound > known):
                self.bounds[n] = bound
            best = self.bounds[n]
            if best is None or value - best > _MET:
                return

    @property
    def proven(self) -> bool:
        """Whether every level is as good as its bound."""
        return all(bound is not None and value - bound <= _MET for value, bound in zip(self.values, self.bounds, strict=True))

    def met(self, level: int, share: float = 0.0) -> bool:
        """Whether a level is as good as its bound, or no worse than it by a share."""
        bound = self.bounds[level]
        return bound is not None and self.values[level] - bound <= max(_MET, share * self.values[level])

    def check(self, solver: str) -> None:
        """Let the checkers judge what is new; raises IllegalResult when they reject it."""
        if self.where is not self.checked:
            if found := self.compiled.problem.breaches(self.compiled.arrays.placement(self.where)):
                raise IllegalResult(f"{solver}: {len(found)} breaches, first {found[0].rule}: {found[0].text}")
            self.checked = self.where

    def result(self) -> Result:
        """The end of the search as a Result; a bound above the value by rounding is lowered to it."""
        levels = tuple(LevelResult(value, None if bound is None else min(bound, value))
                       for value, bound in zip(self.values, self.bounds, strict=True))
        status = Status.OPTIMAL if self.proven else Status.FEASIBLE
        return Result(status, self.compiled.arrays.placement(self.where), levels, tuple(self.trace))


@dataclass(frozen=True, slots=True)
class Stage:
    """A solver of the portfolio: its name, when it is worth running, and how it is run."""

    name: str
    applies: Callable[[_Search], bool]
    run: Callable[[_Search], Bounds]


def _small(compiled: Compiled) -> bool:
    return size(compiled) <= (SPECIAL_BEYOND if levelling.applies(compiled) or emptying.applies(compiled) else EXACT_UP_TO)


def _general(compiled: Compiled) -> bool:
    """Whether no solver of its own takes the problem to its end."""
    return not annealing.applies(compiled) and not (levelling.applies(compiled) and size(compiled) > SPECIAL_BEYOND)


def _emptied(search: _Search, share: float = 0.0) -> bool:
    """Whether as many hosts are empty as can be, or all but a share; what is left is to move less, which the searches below hardly can."""
    return emptying.applies(search.compiled) and search.met(0, share)


def _close(search: _Search) -> bool:
    """Whether no level is worse than its bound by more than what is not worth the rest of the time."""
    return all(search.met(number, _ALMOST) for number in range(len(search.values)))


def _emptying(compiled: Compiled) -> bool:
    return any(isinstance(term.objective, HostsInUse | HostCost) for level in compiled.problem.levels for term in level)


def _bounds(search: _Search) -> Bounds:
    return bounds.level_bounds(search.compiled, search.values) if search.compiled.arrays.movable.any() else search.values


def _repair(search: _Search) -> Bounds:
    repair.improve(search.compiled, search.where, search.stop, search.offers("repair"))
    return _bounds(search)


def _mend(search: _Search) -> Bounds:
    mending.improve(search.compiled, search.where, search.stop, search.offers("mending"))
    return _bounds(search)


def _pursue(search: _Search) -> Bounds:
    """What comes after the rules, by the solvers that are made for it: from the mended placement on, as if servers were there now."""
    arrays = search.compiled.arrays
    rest = mending.held(search.compiled.problem, arrays.placement(search.where))
    if rest is not None and _special(compile_problem(rest)):
        search.offer("goal", arrays.where(solve(rest, Part(search.stop, 0.9, search.check_s), search.seed, search.threads).placement))
    return (None,) * len(search.values)


def _special(compiled: Compiled) -> bool:
    """Whether a solver of its own takes the problem to its end, and CP-SAT does not."""
    return not _small(compiled) and (levelling.applies(compiled) or emptying.applies(compiled) or annealing.applies(compiled))


def _level(search: _Search) -> Bounds:
    levelling.improve(search.compiled, search.where, search.stop, search.seed, search.threads, search.offers("levelling"))
    return levelling_bound.level_bounds(search.compiled, search.where, search.stop)


def _choose_and_pack(search: _Search) -> Bounds:
    part = Part(search.stop, 0.5)  # where hosts are too full for what it chooses, the stages after it do better
    choice = emptying.choose(search.compiled, part)
    emptying.improve(search.compiled, search.where, choice, part, search.seed, search.offers("emptying"))
    return emptying.level_bounds(search.compiled, choice)


def _pattern(search: _Search) -> Bounds:
    answer = patterns.solve_patterns(search.compiled, search.stop, search.seed, search.offers("patterns"))
    return (None,) * len(search.values) if answer is None else answer.bounds


def _empty(search: _Search) -> Bounds:
    """From the present placement, and from the best known where that is another: the first moves decide which hosts can be emptied after them."""
    for where in (search.compiled.arrays.start, search.where):
        state = local_search.State(search.compiled, where)
        local_search.evacuate(state, search.stop)
        search.offer("evacuation", state.now.where)
        if where is search.where or search.where is search.compiled.arrays.start:
            break
    return _bounds(search)


def _descend(search: _Search) -> Bounds:
    state = local_search.State(search.compiled, search.where)
    local_search.descend(state, search.stop)
    search.offer("descent", state.now.where)
    return _bounds(search)


def _anneal(search: _Search) -> Bounds:
    """All the time that is left but what the last check takes; half of it where the exact solver comes after."""
    share = 0.5 if _small(search.compiled) else 1.0
    part = Part(search.stop, share, search.check_s)
    annealing.improve(search.compiled, search.where, part, search.seed, search.threads, search.offers("annealing"))
    return _bounds(search)


def _solve_exactly(search: _Search) -> Bounds:
    answer = solve_cp_sat(search.compiled, search.where, everything(search.compiled), search.stop, search.seed, search.threads)
    search.offer("cp_sat", answer.where)
    return answer.bounds


def _search_neighbourhoods(search: _Search) -> Bounds:
    lns.improve(search.compiled, search.where, search.stop, search.seed, search.threads, search.offers("lns"))
    return _bounds(search)


STAGES: tuple[Stage, ...] = (
    Stage("bounds", lambda search: True, _bounds),
    Stage("repair", lambda search: repair.applies(search.compiled), _repair),
    Stage("mending", lambda search: mending.applies(search.compiled), _mend),
    Stage("goal", lambda search: mending.applies(search.compiled), _pursue),
    Stage("levelling", lambda search: levelling.applies(search.compiled), _level),
    Stage("patterns", lambda search: patterns.applies(search.compiled), _pattern),
    Stage("emptying", lambda search: emptying.applies(search.compiled), _choose_and_pack),
    Stage("evacuation", lambda search: _emptying(search.compiled), _empty),
    Stage("descent", lambda search: _general(search.compiled) and not _emptied(search) and not _close(search), _descend),
    Stage("annealing", lambda search: annealing.applies(search.compiled), _anneal),
    Stage("cp_sat", lambda search: _small(search.compiled), _solve_exactly),
    Stage("lns", lambda search: _general(search.compiled) and not _small(search.compiled) and not _emptied(search, _NEARLY)
          and not _close(search), _search_neighbourhoods),
)
"""The portfolio, in the order in which its solvers run."""
