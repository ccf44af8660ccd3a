"""What a placement leaves to be repaired."""

import pytest

from optimizer.growth import NOT_RUNNING
from optimizer.objectives.broken import Broken, largest_capacity
from tests.support.clusters import make_cluster, make_host, make_server, moved

CLUSTER = make_cluster([make_host("a", vcpus=4), make_host("b", vcpus=8), make_host(NOT_RUNNING, status="disabled", inventory={}, vcpus=0)],
                       [make_server("s0", "a", vcpus=2), make_server("s1", "a", vcpus=2), make_server("s2", NOT_RUNNING)])


@pytest.mark.parametrize(("objective", "to", "expected"), [
    (Broken(), {}, 0),
    (Broken({"s0": {"VCPU": 4}}), {}, 2 / 8),
    (Broken({"s0": {"VCPU": 4}}), {"s1": "b"}, 0),
    (Broken({"s0": {"VCPU": 4, "CUSTOM_CARD": 3}}), {}, 2 / 8 + 3),
    (Broken({}, ("s0", "s2", "deleted")), {}, 1),
    (Broken({}, ("s2",)), {"s2": "b"}, 0),
    (Broken({"s2": {"VCPU": 99}}, ("s2",)), {}, 1),  # who does not run overloads nobody
    (Broken({"s0": {"VCPU": 8}}, ("s2",)), {"s2": "a"}, 7 / 8),
])
def test_values_by_hand(objective: Broken, to: dict[str, str], expected: float) -> None:
    assert objective.value(CLUSTER, moved(CLUSTER, **to)) == pytest.approx(expected)


def test_the_largest_host_is_the_unit() -> None:
    assert largest_capacity(CLUSTER, ("VCPU", "CUSTOM_CARD")) == {"VCPU": 8, "CUSTOM_CARD": 1}
