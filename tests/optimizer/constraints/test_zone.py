"""Servers pinned to a zone."""

import pytest

from optimizer.constraints.zone import ZonePin
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("n1"), make_host("n2"), make_host("e1", zone="east")],
                       [make_server("s1", "n1"), make_server("s2", "n1"), make_server("free", "n1")])


@pytest.mark.parametrize(("to", "expected"), [
    ({"s1": "e1", "s2": "e1"}, [("s1 is pinned to zone nova; e1 is in east", False)]),
    ({}, [("s2 is pinned to zone east; n1 is in nova", True)]),
    ({"s2": "n2"}, [("s2 is pinned to zone east; n2 is in nova", False)]),
    ({"s1": "n2", "s2": "e1", "free": "e1"}, []),
])
def test_zones(to: dict[str, str], expected: list[tuple[str, bool]]) -> None:
    rule = ZonePin({"s1": "nova", "s2": "east", "deleted": "west"})
    assert [(v.text, v.inherited) for v in rule.violations(CLUSTER, moved(CLUSTER, **to))] == expected
