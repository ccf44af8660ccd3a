"""Nobody is sent to a host that takes nobody."""

import pytest

from optimizer.constraints.available import Available
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("a"), make_host("off", status="disabled"), make_host("down", state="down"),
                        make_host("drained")],
                       [make_server("s1", "a"), make_server("s2", "off"), make_server("s3", "down"),
                        make_server("s4", "drained")])


@pytest.mark.parametrize(("to", "expected"), [
    ({"s1": "off"}, ["off is disabled and up; s1 cannot go there"]),
    ({"s1": "down"}, ["down is enabled and down; s1 cannot go there"]),
    ({"s1": "drained"}, ["drained is being drained; s1 cannot go there"]),
    ({"s2": "down", "s3": "off"}, ["down is enabled and down; s2 cannot go there", "off is disabled and up; s3 cannot go there"]),
    ({}, []),
    ({"s2": "a", "s3": "a", "s4": "a"}, []),
])
def test_arrivals(to: dict[str, str], expected: list[str]) -> None:
    found = list(Available(frozenset({"drained"})).violations(CLUSTER, moved(CLUSTER, **to)))
    assert [v.text for v in found] == expected
    assert not any(v.inherited for v in found)
