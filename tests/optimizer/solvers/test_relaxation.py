"""Annealing with room as a price: what is priced is what hosts lack, and what comes out fits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.arrays import Index
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.transient import Transient
from optimizer.objectives.fragmentation import Fragmentation
from optimizer.objectives.load_cost import LoadCost
from optimizer.problem import Problem, Term
from optimizer.solvers import annealing, relaxation
from optimizer.solvers.kernel import cost_of, new_state
from optimizer.solvers.packed import pack
from optimizer.solvers.stop import MaxIterations
from optimizer.solvers.terms import Compiled, compile_problem
from tests.support.clusters import make_cluster, make_host, make_server
from tests.support.problems import problems


def full(transient: bool = False) -> Compiled:
    """Hosts filled to the last core, servers of three sizes, each host with more than it should carry of one kind."""
    hosts = [make_host(f"h{h}", vcpus=16, memory_mb=131_072) for h in range(4)]
    sizes = {"h0": (8, 8), "h1": (4, 4, 4, 4), "h2": (2,) * 8, "h3": (6, 6, 3)}
    servers = [make_server(f"{host}-{n}", host, resources={"VCPU": size, "MEMORY_MB": 1024 * (17 - size), "DISK_GB": 0})
               for host, held in sizes.items() for n, size in enumerate(held)]
    rules = (Capacity(), *((Transient(frozenset({"MEMORY_MB"})),) if transient else ()))
    load = LoadCost("MEMORY_MB", {f"h{h}": 40_000 for h in range(4)})
    return compile_problem(Problem(make_cluster(hosts, servers), rules, ((Term(load),),)))


@settings(max_examples=150)
@given(data=st.data())
def test_priced_is_what_hosts_lack(data: st.DataObject) -> None:
    compiled = compile_problem(data.draw(problems()))
    P = pack(compiled)
    places = st.integers(0, len(P.room) * P.modes - 1)
    where = np.array([data.draw(st.just(home) | places) for home in P.start.tolist()], dtype=np.int32)
    finite = np.arange(P.demand.shape[1])
    relaxed, _, _ = relaxation._relaxed(P, finite)
    state, strict = new_state(relaxed, where), new_state(P, where)
    assert state.excess[:, P.pull.shape[1]:] == pytest.approx(-strict.free)
    if not len(P.fragment_quantity):
        pieces = np.maximum(0, state.excess[:, P.pull.shape[1]:]).sum()
        assert cost_of(relaxed, state) - pieces == pytest.approx(cost_of(P, strict), abs=1e-6 * max(1.0, pieces))


def test_what_does_not_fit_now_or_counts_pieces_is_left_to_others() -> None:
    compiled = full()
    assert relaxation.applies(pack(compiled), compiled.arrays.start)
    crowded = compiled.arrays.start.copy()
    crowded[:] = 0
    assert not relaxation.applies(pack(compiled), crowded)
    pieces = compile_problem(Problem(compiled.problem.cluster, (Capacity(),), ((Term(Fragmentation(4)),),)))
    assert not relaxation.applies(pack(pieces), pieces.arrays.start)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("transient", [False, True])
def test_what_comes_out_is_legal_better_and_the_same_again(threads: int, transient: bool) -> None:
    compiled = full(transient)
    P, start = pack(compiled), compiled.arrays.start

    def run(told: list[Index]) -> Index:
        return relaxation.improve(P, start, 10_000.0, MaxIterations(1_600_000), 3, threads, told.append)

    told: list[Index] = []
    found = run(told)
    assert np.array_equal(found, run([]))
    costs = [float(cost_of(P, new_state(P, where))) for where in (start, *told)]
    assert len(costs) > 1
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) == len(costs)
    for where in told:
        assert compiled.problem.breaches(compiled.arrays.placement(where)) == []
    assert np.array_equal(found, told[-1])


def test_the_budget_is_kept() -> None:
    compiled = full()
    stop = MaxIterations(400_000)
    relaxation.improve(pack(compiled), compiled.arrays.start, 10_000.0, stop, 1, 2, lambda where: None)
    assert 1 <= stop.spent() < 1.05


def test_with_many_proposals_annealing_takes_what_did_better_on_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = full()
    tried: list[float] = []
    priced = relaxation.improve

    def noted(*given: object) -> Index:
        tried.append(1.0)
        return priced(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(relaxation, "improve", noted)
    stop = MaxIterations(5_000_000)
    stop.started()
    annealing.improve(compiled, compiled.arrays.start, stop, 1, 1, lambda where: None)
    assert tried  # more than 100,000 proposals for each of 17 servers
    few = MaxIterations(100_000)
    few.started()
    tried.clear()
    annealing.improve(compiled, compiled.arrays.start, few, 1, 1, lambda where: None)
    assert not tried


def test_time_that_was_over_before_is_all_spent() -> None:
    """A trial that begins when nothing is left makes its one lap and ends."""
    over = Over()
    P = pack(full())
    chain = relaxation._Chain(P, P.start, 1.0, 0, 100)
    assert relaxation._progress(chain, over, over.spent(), None, 1, 0)() == 1.0
    assert np.array_equal(relaxation.improve(P, P.start, 1.0, over, 0, 1, lambda where: None), P.start)


class Over:
    """A budget of no time that is spent."""

    def started(self) -> None: ...

    def count(self, iterations: int) -> None: ...

    def spent(self) -> float:
        return 1.0 + 1e-12

    def remaining_s(self) -> float:
        return 0.0

    def iterations_left(self) -> None:
        return None


def test_prices_stay_finite_where_nothing_ever_fits() -> None:
    compiled = full()
    P = pack(compiled)
    chain = relaxation._Chain(P._replace(room=P.room // 4), P.start, 1.0, 0, 20)  # room for a quarter of what there is
    laps = iter(range(20_000))
    chain.until(1.0, lambda: next(laps) / 19_999)
    assert np.isfinite(chain.price).all()
    assert np.isfinite(cost_of(chain.packed, chain.state))
