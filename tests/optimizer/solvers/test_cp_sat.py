"""CP-SAT as a guest in a program; what it finds is compared with the other solvers in test_agreement.py."""

import os
import signal

from ortools.sat.python import cp_model

from optimizer.solvers.cp_sat import solver_for
from optimizer.solvers.stop import MaxRuntime


def test_ctrl_c_belongs_to_the_program() -> None:
    """During a search and after it; left to itself, CP-SAT keeps the signal, and leaves behind a program that ends without a word."""
    model, stop = cp_model.CpModel(), MaxRuntime(5)
    stop.started()
    model.maximize(model.new_int_var(0, 9, "x"))
    solver = solver_for(stop, 5.0, 1.0)
    given: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: given.append(number))
    try:
        solver.best_bound_callback = lambda bound: given or os.kill(os.getpid(), signal.SIGINT)
        assert solver.solve(model) == cp_model.OPTIMAL
        assert given == [signal.SIGINT]
        os.kill(os.getpid(), signal.SIGINT)
        assert given == [signal.SIGINT] * 2
    finally:
        signal.signal(signal.SIGINT, before)
