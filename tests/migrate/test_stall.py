"""Live migrations that come nearer to their end, and those that do not, played round by round."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.limits import USUAL_LIMITS
from migrate.stall import Pulse


@pytest.mark.parametrize(("heard", "grew"), [
    ([None, None], 2),  # nothing is known: nothing is held against it
    ([0.0, 0.0, 0.0], 0),
    ([0.1, 0.2, 0.2], 2),
    ([0.5, 0.5, None, 0.5, 0.5], 3),
    ([0.5, 0.9, 0.4, 0.8], 4),  # the second round began with less left than the first
    ([0.5, 0.9, 0.4, 0.9, 0.4, 0.8, 0.4, 0.9], 4),  # and none after it
    ([0.5, 0.9, 0.4, 0.9, 0.3, 0.9, 0.5, 0.6], 8),
    ([0.5, 0.9, 0.4, 0.9, 0.41, 0.9, 0.42, 0.9, 0.43, 0.9], 4),  # what is left at a look is chance, within limits
    ([0.5, 0.9, 0.4, 0.9, 0.45, 0.9, 0.5, 0.6, 0.6], 8),
])
def test_grew(heard: list[float | None], grew: float) -> None:
    pulse = Pulse(0)
    for moment, fraction in enumerate(heard, start=1):
        pulse.heard(fraction, moment)
    assert pulse.grew == grew


def longest_pause_s(copy_s: float, ratio: float, update_s: float, most_s: float) -> float:
    """The longest time without growth of a migration that takes so long for one copy and writes ``ratio`` as fast as it copies, until it ends.

    Looked at every 2 s; the cloud brings its figures up to date every ``update_s``.
    """
    pulse, left, longest, begin = Pulse(0.0), 1.0, 0.0, 0.0
    look = 0.0
    while left * copy_s > 0.5 and look < most_s:
        end = begin + left * copy_s
        while look < end:
            updated = max(begin, look // update_s * update_s)
            pulse.heard(1 - left + (updated - begin) / copy_s, look)
            longest = max(longest, look - pulse.grew)
            look += 2.0
        begin, left = end, min(1.0, left * ratio)
    return longest


@settings(max_examples=200, deadline=None)
@given(copy_s=st.floats(5, 2000), ratio=st.floats(0.05, 0.85), update_s=st.floats(0.5, 5))
def test_one_that_converges_is_never_still_for_long(copy_s: float, ratio: float, update_s: float) -> None:
    """Not all of its rounds can be told from the one before: short ones, of which there are a few."""
    assert longest_pause_s(copy_s, ratio, update_s, float("inf")) < USUAL_LIMITS.stall_timeout_s


@settings(max_examples=200, deadline=None)
@given(copy_s=st.floats(5, 500), ratio=st.floats(1.0, 3.0), update_s=st.floats(0.5, 5))
def test_one_that_writes_as_fast_as_it_copies_is_found_out(copy_s: float, ratio: float, update_s: float) -> None:
    assert longest_pause_s(copy_s, ratio, update_s, 2 * copy_s + 3000) > USUAL_LIMITS.stall_timeout_s
