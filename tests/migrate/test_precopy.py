"""Pre-copy in closed form, against the same round by round."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migrate.precopy import DOWNTIME_S, sent_mb


def played(memory: float, dirty: float, bandwidth: float, auto_converge: bool) -> float:
    """QEMU's rounds one after the other: send what is left, see what was written meanwhile, slow the server down where it is too much."""
    left, sent, slow_rounds, percent = memory, 0.0, 0, 0
    while left > bandwidth * DOWNTIME_S:
        seconds = left / bandwidth
        written = min(memory, dirty * (1 - percent / 100) * seconds)
        sent += left
        if written > left / 2:
            slow_rounds += 1
        if auto_converge and slow_rounds == 2:
            slow_rounds, percent = 0, 20 if not percent else min(99, percent + 10)
        left = written
        if sent > 10_000 * memory:
            return math.inf
    return sent + left


@pytest.mark.parametrize(("memory", "dirty", "bandwidth", "sent"), [
    (8192, 0, 500, 8192),
    (100, 10_000, 500, 100),  # goes in the downtime as it is
    (8000, 250, 500, 8000 + 4000 + 2000 + 1000 + 500 + 250),
    (8000, 500, 500, math.inf),
    (8000, 900, 500, math.inf),
])
def test_sent(memory: float, dirty: float, bandwidth: float, sent: float) -> None:
    assert sent_mb(memory, dirty, bandwidth) == pytest.approx(sent)


@given(memory=st.floats(1, 1e6), ratio=st.floats(0, 0.995), bandwidth=st.floats(1, 1e4))
def test_closed_form(memory: float, ratio: float, bandwidth: float) -> None:
    if ratio > 0 and memory > bandwidth * DOWNTIME_S:
        rounds = math.log(bandwidth * DOWNTIME_S / memory) / math.log(ratio)
        assume(abs(rounds - round(rounds)) > 1e-6)  # where the last digit decides whether one more round is due
    assert sent_mb(memory, ratio * bandwidth, bandwidth) == pytest.approx(played(memory, ratio * bandwidth, bandwidth, False), rel=1e-6)


@given(memory=st.floats(1, 1e6), ratio=st.floats(0, 200), bandwidth=st.floats(1, 1e4))
def test_auto_converge(memory: float, ratio: float, bandwidth: float) -> None:
    """Exactly at a threshold, the last digit decides: a round more or less."""
    found, expected = (call(memory, ratio * bandwidth, bandwidth) for call in (
        lambda *of: sent_mb(*of, auto_converge=True), lambda *of: played(*of, True)))
    assume(all(abs(ratio * (1 - percent / 100) - edge) > 1e-6 for percent in (0, *range(20, 100, 10), 99) for edge in (0.5, 1.0)))
    assert math.isinf(found) == math.isinf(expected) == (ratio * 0.01 >= 1 and memory > bandwidth * DOWNTIME_S)
    assert math.isinf(found) or found == pytest.approx(expected, rel=1e-6, abs=bandwidth * DOWNTIME_S)


@given(memory=st.floats(1024, 1e6), ratio=st.floats(0.6, 3), bandwidth=st.floats(1, 1e3))
def test_slowing_down_never_sends_more(memory: float, ratio: float, bandwidth: float) -> None:
    assert sent_mb(memory, ratio * bandwidth, bandwidth, auto_converge=True) <= sent_mb(memory, ratio * bandwidth, bandwidth) * (1 + 1e-9)
