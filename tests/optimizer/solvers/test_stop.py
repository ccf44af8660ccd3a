"""When to stop."""

import math

import pytest

from optimizer.solvers.stop import MaxIterations, MaxRuntime


@pytest.mark.parametrize("seconds", [0, -1, math.inf, math.nan])
def test_a_limit_that_is_none(seconds: float) -> None:
    with pytest.raises(ValueError, match=f"a time limit of {seconds} s; it must be above 0 and finite"):
        MaxRuntime(seconds)


def test_time_counts_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stop = MaxRuntime(5)
    stop.started()
    assert stop.remaining_s() == 5
    now[0] = 103
    assert stop.remaining_s() == 2
    now[0] = 106
    assert stop.remaining_s() == -1


@pytest.mark.parametrize("iterations", [0, -5])
def test_a_number_of_iterations_that_is_none(iterations: int) -> None:
    with pytest.raises(ValueError, match=f"a limit of {iterations} iterations; it must be above 0"):
        MaxIterations(iterations)


def test_iterations_count_whatever_the_clock_says() -> None:
    stop = MaxIterations(100)
    stop.started()
    stop.count(60)
    assert (stop.spent(), stop.remaining_s()) == (0.6, math.inf)
    stop.count(60)
    assert (stop.spent(), stop.remaining_s()) == (1.2, 0)
    stop.started()
    assert stop.spent() == 0


def test_the_share_of_time_that_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [50.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stop = MaxRuntime(4)
    stop.started()
    now[0] = 53
    stop.count(1000)
    assert stop.spent() == 0.75
