"""Large-neighbourhood search: a few hosts at a time are given to the exact solver, everything else held.

Shaw, "Using constraint programming and local search methods to solve vehicle routing problems" (CP 1998).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from optimizer.arrays import Index, Mask
from optimizer.problem import better
from optimizer.solvers import mending
from optimizer.solvers.cp_sat import solve_cp_sat
from optimizer.solvers.cp_sat_model import Scope
from optimizer.solvers.stop import Stop
from optimizer.solvers.terms import Compiled

_VARIABLES = 4_000  # 0/1 variables of one neighbourhood: solved in about a second
_ROUND_S = 2.0
_BROKEN, _OPEN = 5, 3  # servers of broken rules that a neighbourhood is about, and hosts that would take each


def improve(compiled: Compiled, where: Index, stop: Stop, seed: int, threads: int,
            found: Callable[[Index], None], rounds_without: int = 30) -> Index:
    """Improve a legal placement until time is up or ``rounds_without`` parts in a row brought nothing; ``found`` gets each."""
    rng = np.random.default_rng(seed)
    values = compiled.problem.values(compiled.arrays.placement(where))
    idle = 0
    while stop.remaining_s() > 0.1 and idle < rounds_without:
        hosts = _neighbourhood(compiled, where, rng)
        scope = Scope(servers=compiled.arrays.movable & hosts[where // compiled.arrays.modes], hosts=hosts)
        answer = solve_cp_sat(compiled, where, scope, stop, int(rng.integers(2**31)), threads, _ROUND_S)
        new = compiled.problem.values(compiled.arrays.placement(answer.where))
        idle += 1
        if better(new, values):
            where, values, idle = answer.where, new, 0
            found(where)
    return where


def _neighbourhood(compiled: Compiled, where: Index, rng: np.random.Generator) -> Mask:
    """A few hosts: the ends of some moves made so far, those of broken rules, those far from the balance, and random ones."""
    arrays = compiled.arrays
    hosts, held = len(arrays.room), where // arrays.modes
    touched = np.union1d(held[where != arrays.start], arrays.home[where != arrays.start])
    weight = np.ones(hosts)
    for balance in compiled.balance.values():
        load = np.bincount(held, weights=balance.load, minlength=hosts)
        weight += 10 * np.abs(load - balance.level) / np.maximum(1, balance.capacity)
    if len(touched):
        weight[touched] += hosts / (2 * len(touched))
    if mending.applies(compiled):
        _weigh_broken(compiled, where, weight, rng)
    order = rng.choice(hosts, size=hosts, replace=False, p=weight / weight.sum())
    servers = np.bincount(held, minlength=hosts)[order].cumsum()
    enough = int(np.searchsorted(servers * np.arange(1, hosts + 1), _VARIABLES))
    mask = np.zeros(hosts, dtype=np.bool_)
    mask[order[:max(2, enough)]] = True
    return mask


def _weigh_broken(compiled: Compiled, where: Index, weight: npt.NDArray[np.float64], rng: np.random.Generator) -> None:
    """Hosts of servers that have a part in a breach, and some that would take them, weigh (H) as much as all others together."""
    arrays = compiled.arrays
    servers = np.flatnonzero(mending.concerned(compiled, where) & arrays.movable)
    if not len(servers):
        return
    chosen = rng.choice(servers, size=min(_BROKEN, len(servers)), replace=False)
    hosts = [*(where[chosen] // arrays.modes).tolist()]
    for s in chosen.tolist():
        open_to = np.flatnonzero(arrays.allowed(s))
        hosts += rng.choice(open_to, size=min(_OPEN, len(open_to)), replace=False).tolist()
    weight[hosts] += weight.sum() / len(hosts)
