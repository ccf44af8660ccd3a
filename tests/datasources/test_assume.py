"""A load by choice, for a cloud that nobody measures."""

from datasources.assume import assume_load
from optimizer.cluster import Cluster, Flavor, Host, Server, Usage

CLUSTER = Cluster(
    name="c",
    taken_at="2026-01-01T00:00:00Z",
    hosts=(Host(id="h", name="h", inventory={}),),
    servers=(Server(id="s", name="s", host="h", flavor="f", resources={}),),
    flavors={"f": Flavor(name="f", vcpus=2, memory_mb=512)},
)


def test_flavor_share() -> None:
    found = assume_load(CLUSTER, "flavor")
    assert found.servers[0].usage == Usage(cpu_cores=2, memory_mb=512, assumed=True)
    assert found.load is not None
    assert (found.load.source, found.load.missing, found.load.missing_means) == ("assumed", ("s",), "flavor")


def test_idle() -> None:
    assert assume_load(CLUSTER, "idle").servers[0].usage == Usage(cpu_cores=0, memory_mb=0, assumed=True)
