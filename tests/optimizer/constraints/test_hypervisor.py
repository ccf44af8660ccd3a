"""Live migration to other hypervisors."""

import pytest

from optimizer.constraints.hypervisor import Hypervisor
from tests.support.clusters import make_cluster, make_host, make_server, moved

HOSTS = [make_host("old", hypervisor_type="QEMU", hypervisor_version=7000000), make_host("new", hypervisor_type="QEMU", hypervisor_version=8000000),
         make_host("same", hypervisor_type="QEMU", hypervisor_version=8000000), make_host("xen", hypervisor_type="xen", hypervisor_version=9000000),
         make_host("unknown")]
CLUSTER = make_cluster(HOSTS, [make_server("s", "new"), make_server("cold", "new"), make_server("t", "unknown")])


@pytest.mark.parametrize(("to", "refused"), [
    ({}, []),
    ({"s": "old"}, ["s"]),
    ({"s": "xen"}, ["s"]),
    ({"s": "same"}, []),
    ({"s": "unknown"}, []),
    ({"cold": "old"}, []),
    ({"t": "old"}, []),
    ({"t": "xen", "s": "old"}, ["s"]),
])
def test_older_or_other_hypervisors_take_nobody_live(to: dict[str, str], refused: list[str]) -> None:
    found = list(Hypervisor(frozenset({"s", "t"})).violations(CLUSTER, moved(CLUSTER, **to)))
    assert [v.servers for v in found] == [(name,) for name in refused]
    assert not any(v.inherited for v in found)
    assert all("8000000" in v.text and "not older" in v.text for v in found)
