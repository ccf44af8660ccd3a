"""The small problems that compile the kernels."""

import pytest

from optimizer.placement import placement_of
from optimizer.problem import Problem, better
from optimizer.solvers import annealing, emptying, levelling, patterns
from optimizer.solvers.portfolio import solve
from optimizer.solvers.prepare import problems
from optimizer.solvers.stop import MaxIterations
from optimizer.solvers.terms import compile_problem


@pytest.mark.parametrize("problem", list(problems()), ids=lambda problem: problem.levels[0][0].objective.name)
def test_each_is_solved(problem: Problem) -> None:
    result = solve(problem, MaxIterations(50_000))
    assert not problem.breaches(result.placement)
    assert better(result.values, problem.values(placement_of(problem.cluster)))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("problem", list(problems()), ids=lambda problem: problem.levels[0][0].objective.name)
def test_iterations_and_a_seed_decide(problem: Problem, threads: int) -> None:
    """Whatever the clock says, and with as many threads."""
    first, second = (solve(problem, MaxIterations(50_000), seed=5, threads=threads) for _ in range(2))
    assert first.placement == second.placement
    assert first.levels == second.levels
    assert first.status is second.status
    assert [(step.solver, step.values) for step in first.trace] == [(step.solver, step.values) for step in second.trace]


@pytest.mark.parametrize("solver", [annealing, emptying, levelling, patterns], ids=lambda module: module.__name__)
def test_each_solver_with_kernels_has_one(solver: object) -> None:
    assert any(solver.applies(compile_problem(problem)) for problem in problems())  # type: ignore[attr-defined]
