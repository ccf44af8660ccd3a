"""Large-neighbourhood search."""

import itertools

import numpy as np
import pytest

from optimizer.arrays import Index
from optimizer.objectives.hosts_in_use import HostsInUse
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.spread import Spread
from optimizer.problem import Level, Problem, Term, better
from optimizer.solvers import lns
from optimizer.solvers.stop import MaxRuntime
from optimizer.solvers.terms import compile_problem
from policy_sources import nova
from tests.support.clusters import make_cluster, make_group, make_host, make_server


@pytest.mark.parametrize(("levels", "limit"), [
    (((Term(Spread("cpu")),), (Term(MoveCost()),)), 10),
    (((Term(HostsInUse()), Term(MoveCost(), 0.1)),), None),
])
def test_every_step_is_legal_and_better(levels: tuple[Level, ...], limit: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lns, "_VARIABLES", 60)
    hosts = [make_host(f"h{n}", vcpus=8 + 4 * (n % 2), status="disabled" if n == 3 else "enabled") for n in range(10)]
    servers = [make_server(f"s{n}", f"h{n % 4 if n % 3 else n % 10}", cpu_cores=(n % 5) / 2,
                           locked=n % 7 == 0) for n in range(30)]
    groups = (make_group("anti-affinity", *[f"s{n}" for n in range(6)]), make_group("affinity", "s8", "s9", name="two"))
    cluster = make_cluster(hosts, servers, groups=groups)
    problem = Problem(cluster, tuple(nova.constraints(cluster)), levels, max_moves=limit)
    compiled = compile_problem(problem)
    steps: list[Index] = [compiled.arrays.start]
    stop = MaxRuntime(30)
    stop.started()
    last = lns.improve(compiled, compiled.arrays.start, stop, 3, 1, steps.append, rounds_without=3)
    values = [problem.values(compiled.arrays.placement(where)) for where in steps]
    assert len(steps) > 2
    assert (last == steps[-1]).all()
    assert all(better(after, before) for before, after in itertools.pairwise(values))
    assert not any(problem.breaches(compiled.arrays.placement(where)) for where in steps)


def test_nothing_is_done_without_time() -> None:
    cluster = make_cluster([make_host("h0"), make_host("h1")], [make_server("s0", "h0"), make_server("s1", "h1")])
    compiled = compile_problem(Problem(cluster, (), ((Term(HostsInUse()),),)))
    stop = MaxRuntime(0.01)
    stop.started()
    stop._begin -= 1
    assert (lns.improve(compiled, compiled.arrays.start, stop, 0, 1,
                        lambda where: pytest.fail("a step")) == np.array([0, 1])).all()
