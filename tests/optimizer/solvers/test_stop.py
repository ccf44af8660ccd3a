"""When to stop."""

import math

import pytest

from optimizer.solvers.stop import MaxIterations, MaxRuntime, Part


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def begun(seconds: float) -> MaxRuntime:
    stop = MaxRuntime(seconds)
    stop.started()
    return stop


@pytest.mark.parametrize(("share", "reserve_s", "seconds"), [
    (1.0, 0.0, 8.0), (0.5, 0.0, 4.0), (1.0, 2.0, 6.0), (0.5, 2.0, 3.0), (1.0, 8.0, 0.0), (0.25, 20.0, 0.0), (0.0, 0.0, 0.0),
])
def test_a_part_of_the_time_that_is_left(share: float, reserve_s: float, seconds: float, clock: list[float]) -> None:
    whole = begun(10)
    clock[0] += 2
    part = Part(whole, share, reserve_s)
    assert part.remaining_s() == pytest.approx(seconds)
    assert part.iterations_left() is None
    assert part.spent() == (0 if seconds else 1)
    clock[0] += seconds / 2
    part.started()  # says nothing new
    assert part.remaining_s() == pytest.approx(seconds / 2)
    assert part.spent() == pytest.approx(0.5 if seconds else 1)
    clock[0] += seconds / 2 + 1
    assert part.remaining_s() == pytest.approx(-1)
    assert part.spent() >= 1
    assert whole.remaining_s() == pytest.approx(7 - seconds)


@pytest.mark.parametrize("late_s", [0, 3])
def test_nothing_is_left_of_what_is_spent(late_s: float, clock: list[float]) -> None:
    whole = begun(10)
    clock[0] += 10 + late_s
    part = Part(whole, 0.5, 1.0)
    assert part.remaining_s() <= 0
    assert part.spent() >= 1


@pytest.mark.parametrize("late_s", [0.001, 1, 3600])
def test_the_end_of_the_whole_is_the_end_of_its_parts(late_s: float, clock: list[float]) -> None:
    """A stage may take longer than there is time for one look at the clock; what is left is never more for it."""
    whole = begun(10)
    half, most = Part(whole, 0.5), Part(whole, 1.0, 0.1)
    clock[0] += 10 + late_s
    for part in (half, most, Part(half, 0.5)):
        assert part.remaining_s() <= 0
        assert part.spent() >= 1


@pytest.mark.parametrize(("share", "left"), [(1.0, 80), (0.5, 40), (0.25, 20), (0.0, 0)])
def test_a_part_of_the_iterations_that_are_left(share: float, left: int) -> None:
    whole = MaxIterations(100)
    whole.started()
    whole.count(20)
    part = Part(whole, share, 5.0)  # there is no time to reserve
    assert part.iterations_left() == left
    assert part.remaining_s() == (math.inf if left else 0)
    part.count(left // 2)
    assert whole.iterations_left() == 80 - left // 2
    assert part.iterations_left() == left - left // 2
    assert part.spent() == pytest.approx(0.5 if left else 1)
    part.count(left - left // 2)
    assert part.iterations_left() == 0
    assert part.remaining_s() == 0
    assert part.spent() == pytest.approx(1)
    part.count(30)
    assert part.iterations_left() == 0


def test_a_part_of_a_part(clock: list[float]) -> None:
    whole = begun(16)
    half = Part(whole, 0.5)
    clock[0] += 2
    quarter = Part(half, 0.5)
    assert (half.remaining_s(), quarter.remaining_s()) == (6, 3)
    clock[0] += 3
    assert (whole.remaining_s(), half.remaining_s(), quarter.remaining_s()) == pytest.approx((11, 3, 0), abs=1e-9)
    assert quarter.spent() == pytest.approx(1)
    counted = MaxIterations(1000)
    counted.started()
    inner = Part(Part(counted, 0.5), 0.5)
    inner.count(100)
    assert (inner.iterations_left(), counted.iterations_left()) == (150, 900)
