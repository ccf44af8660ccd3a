"""Required and forbidden traits."""

import pytest

from optimizer.constraints.traits import TraitNeed, Traits
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("none"), make_host("x", traits=("X",)), make_host("xy", traits=("X", "Y"))],
                       [make_server("s1", "xy"), make_server("s2", "none"), make_server("free", "none")])
RULE = Traits({"s1": TraitNeed(required=frozenset({"X", "Y"})),
               "s2": TraitNeed(required=frozenset({"X"}), forbidden=frozenset({"Y"})),
               "deleted": TraitNeed(required=frozenset({"X"}))})


@pytest.mark.parametrize(("to", "expected"), [
    ({"s1": "none", "s2": "x"}, [("s1 requires trait X; none lacks it", False), ("s1 requires trait Y; none lacks it", False)]),
    ({"s1": "x", "s2": "x"}, [("s1 requires trait Y; x lacks it", False)]),
    ({"s2": "xy"}, [("s2 forbids trait Y; xy has it", False)]),
    ({}, [("s2 requires trait X; none lacks it", True)]),
    ({"s2": "x", "free": "xy"}, []),
])
def test_needs(to: dict[str, str], expected: list[tuple[str, bool]]) -> None:
    assert [(v.text, v.inherited) for v in RULE.violations(CLUSTER, moved(CLUSTER, **to))] == expected
