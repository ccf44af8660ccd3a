"""How much memory a live migration sends: pre-copy, round after round, until what is left can be sent while the server stands still.

The first round sends all of the memory, each of the others what was written during the one before (Clark et al., "Live Migration of Virtual
Machines", NSDI 2005). Where a server writes as fast as it is copied, that has no end.
"""

import math

DOWNTIME_S = 0.5  # Nova's live_migration_downtime

# What QEMU's auto-converge takes off the server's CPUs (cpu-throttle-initial, -increment, max-cpu-throttle), a step further after two rounds in
# which more than half of what was sent was written again (throttle-trigger-threshold).
# https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html
_THROTTLES = (0.0, *(percent / 100 for percent in range(20, 100, 10)), 0.99)
_TRIGGER = 0.5
_ROUNDS = 2


def sent_mb(memory_mb: float, dirty_mb_per_s: float, bandwidth_mb_per_s: float, *, auto_converge: bool = False) -> float:
    """MiB that a live migration sends of a server that writes to its memory at some rate, at most to all of it; infinite where it does not end."""
    least_mb = bandwidth_mb_per_s * DOWNTIME_S
    ratio = dirty_mb_per_s / bandwidth_mb_per_s
    if not auto_converge:
        return _rounds_mb(memory_mb, ratio, least_mb)
    sent, left = 0.0, memory_mb
    for throttle in _THROTTLES:
        slowed = ratio * (1 - throttle)
        if slowed <= _TRIGGER:
            break
        for _ in range(_ROUNDS):
            if left <= least_mb:
                return sent + left
            sent, left = sent + left, min(memory_mb, left * slowed)
    return sent + _rounds_mb(left, slowed, least_mb)


def _rounds_mb(left_mb: float, ratio: float, least_mb: float) -> float:
    """The sum of the rounds, each ``ratio`` of the one before, down to the first that is no more than ``least_mb``."""
    if left_mb <= least_mb or not ratio:
        return left_mb
    if ratio >= 1:
        return math.inf
    rounds = math.ceil(math.log(least_mb / left_mb) / math.log(ratio))
    return left_mb * (1 - ratio ** (rounds + 1)) / (1 - ratio)
