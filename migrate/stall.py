"""Whether a live migration comes nearer to its end, by the share of its memory that is not left to copy.

That share does not only grow: pre-copy goes in rounds (migrate/precopy.py), and what was written during one is left again when the next begins. A
server that writes as fast as it is copied goes through round after round, and each begins with as much left as the one before.
"""

from dataclasses import dataclass

_LESS = 0.9  # looks come too seldom to see where a round begins: what differs by less says nothing


@dataclass(slots=True)
class Pulse:
    """What was heard of a migration; ``grew`` is the last moment at which it came nearer to its end.

    It does when the share grows in a round that began with a tenth less left than any that did before.
    """

    grew: float
    _share: float = 0.0
    _least_left: float = 1.0
    _nearer: bool = True

    def heard(self, share: float | None, now: float) -> None:
        """News; while the share is not known (queued, no answer), nothing is held against the migration."""
        if share is None:
            self.grew = now
            return
        if share < self._share:
            self._nearer = 1 - share <= _LESS * self._least_left
            if self._nearer:
                self._least_left = 1 - share
        elif share > self._share and self._nearer:
            self.grew = now
        self._share = share
