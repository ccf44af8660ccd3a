"""Results and their gaps."""

import pytest

from optimizer.result import LevelResult, Result, Status


@pytest.mark.parametrize(("value", "bound", "gap"), [
    (1.0, None, None), (0.0, None, None), (0.0, 0.0, 0.0), (2.0, 2.0, 0.0), (2.0, 2.0 - 1e-12, 0.0), (2.0, 1.5, 0.25),
    (2.0, 0.0, 1.0),
])
def test_gap(value: float, bound: float | None, gap: float | None) -> None:
    assert LevelResult(value, bound).gap == gap


def test_values_of_a_result() -> None:
    assert Result(Status.FEASIBLE, {}, (LevelResult(1.0, None), LevelResult(0.5, 0.5)), ()).values == (1.0, 0.5)
