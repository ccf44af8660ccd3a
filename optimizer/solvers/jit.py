"""How kernels are compiled: numba, cached on disk, without the interpreter lock."""

from typing import Any

from numba import njit

# Without its runtime numba counts no references, which would cost ten times what the kernels compute; so they allocate nothing.
# Sums may be added up in any order, so that they use the processor's vectors; no kernel meets a number that is none.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False, "boundscheck": False,
                            "fastmath": {"reassoc", "nsz", "nnan", "ninf", "contract"}}


def kernel(function: Any) -> Any:
    """Compile a function that works on arrays and allocates none; the result is kept beside its module for the next process."""
    return njit(**_OPTIONS)(function)


def inlined(function: Any) -> Any:
    """The same for a small function, put into whoever calls it."""
    return njit(inline="always", **_OPTIONS)(function)


def allocating(function: Any) -> Any:
    """Compile a function that makes arrays of its own, or that reckons with infinity."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)
