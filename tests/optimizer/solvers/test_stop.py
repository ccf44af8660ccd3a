"""When to stop."""

import math

import pytest

from optimizer.solvers.stop import MaxRuntime


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
