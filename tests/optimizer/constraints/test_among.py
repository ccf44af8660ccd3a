"""Groups inside one of several sets of hosts."""

import pytest

from optimizer.constraints.among import Among
from optimizer.growth import NOT_RUNNING
from tests.support.clusters import make_cluster, make_host, make_server, moved

NAMES = ("a", "b", "c", "d", "out", NOT_RUNNING)
SETS = (frozenset("ab"), frozenset("cd"))
OVERLAPPING = (frozenset("abc"), frozenset("cd"))


@pytest.mark.parametrize(("sets", "now", "to", "expected"), [
    (SETS, "ab", {}, []),
    (SETS, "ab", {"s0": "b"}, []),
    (SETS, "ab", {"s0": "c"}, [(("s0",), None, False)]),
    (SETS, "ab", {"s0": "out"}, [(("s0",), "out", False)]),
    (SETS, "ab", {"s0": "c", "s1": "d"}, [(("s0", "s1"), None, False)]),  # on the way they would be in two sets
    (SETS, "a", {"s0": "d"}, []),  # one alone may go anywhere
    (SETS, "ac", {}, [((), None, True)]),
    (SETS, "ac", {"s0": "d"}, []),  # drawn together
    (SETS, "ac", {"s0": "b"}, [(("s0",), None, False)]),
    (SETS, "ac", {"s0": "d", "s1": "b"}, [(("s0", "s1"), None, False)]),
    (SETS, "aoa", {}, [(("s1",), "out", True)]),
    (SETS, "aoa", {"s1": "b"}, []),
    (SETS, "aoa", {"s1": "c"}, [(("s1",), None, False)]),
    (SETS, "an", {}, []),  # who does not run is nowhere
    (SETS, "an", {"s1": "b"}, []),
    (SETS, "an", {"s1": "c"}, [(("s1",), None, False)]),
    (SETS, "an", {"s0": "c", "s1": "d"}, [(("s0", "s1"), None, False)]),
    (SETS, "nn", {"s0": "c", "s1": "d"}, []),
    (SETS, "nn", {"s0": "a", "s1": "d"}, [(("s0", "s1"), None, False)]),
    (OVERLAPPING, "cc", {"s0": "a"}, []),
    (OVERLAPPING, "cc", {"s0": "a", "s1": "d"}, [(("s0", "s1"), None, False)]),
    ((), "a", {}, [(("s0",), "a", True)]),
])
def test_one_set_holds_all_members_all_the_while(sets: tuple[frozenset[str], ...], now: str, to: dict[str, str],
                                                 expected: list[tuple[object, ...]]) -> None:
    hosts = {"o": "out", "n": NOT_RUNNING}
    cluster = make_cluster([make_host(name) for name in NAMES], [make_server(f"s{n}", hosts.get(h, h)) for n, h in enumerate(now)])
    rule = Among("group", ("s0", "s1", "s2", "deleted"), sets)
    assert [(v.servers, v.host, v.inherited) for v in rule.violations(cluster, moved(cluster, **to))] == expected
