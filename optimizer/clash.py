"""Which of many rules cannot all hold together."""

from collections.abc import Callable, Sequence
from typing import TypeVar

Thing = TypeVar("Thing")


def smallest_clash(things: Sequence[Thing], clash: Callable[[Sequence[Thing]], bool]) -> tuple[Thing, ...]:
    """A part of ``things`` that clashes and of which no smaller part does; ``things`` have to clash as a whole.

    ``clash`` tells whether some things cannot all hold; whoever has part in a clash makes any larger set clash too. It is asked about
    k log(n / k) times for a set of k among n, those at the front are kept rather than others. Source: Junker, "QuickXplain: preferred
    explanations and relaxations for over-constrained problems", AAAI 2004.
    """
    return tuple(_part([], list(things), clash, False))


def _part(background: list[Thing], things: list[Thing], clash: Callable[[Sequence[Thing]], bool], grown: bool) -> list[Thing]:
    """Who of ``things`` is needed for a clash with the background, which has just ``grown`` or not."""
    if grown and clash(background):
        return []
    if len(things) == 1:
        return things
    half = len(things) // 2
    first, second = things[:half], things[half:]
    needed_of_second = _part(background + first, second, clash, True)
    needed_of_first = _part(background + needed_of_second, first, clash, bool(needed_of_second))
    return needed_of_first + needed_of_second
