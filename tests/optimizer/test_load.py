"""Load in whole numbers."""

import pytest

from optimizer.cluster import Host, Inventory
from optimizer.load import LoadMissing, host_capacity, host_load, server_load
from tests.support.clusters import make_cluster, make_host, make_server, moved


def test_a_server_without_usage_is_an_error_that_names_it() -> None:
    with pytest.raises(LoadMissing, match=r"server s1 \(s1\) has no usage"):
        server_load(make_server("s1", "a"), "cpu")


@pytest.mark.parametrize(("cores", "expected"), [(0, 0), (0.07, 7), (0.29, 29), (0.071, 8), (1e-12, 0), (0.001, 1), (2, 200)])
def test_cpu_in_hundredths_of_a_core_rounded_up(cores: float, expected: int) -> None:
    assert server_load(make_server("s1", "a", cpu_cores=cores), "cpu") == expected


@pytest.mark.parametrize(("used", "expected"), [(0, 0), (300.5, 301), (1024, 1024)])
def test_memory_in_mb_rounded_up(used: float, expected: int) -> None:
    assert server_load(make_server("s1", "a", cpu_cores=1, used_mb=used), "memory") == expected


def test_capacity_is_physical() -> None:
    host = make_host("a", vcpus=4, ratio=16, inventory={"PCPU": Inventory(total=2),
                                                        "MEMORY_MB": Inventory(total=2048, reserved=512)})
    assert (host_capacity(host, "cpu"), host_capacity(host, "memory")) == (600, 2048)
    bare = Host(id="i", name="bare", inventory={})
    assert (host_capacity(bare, "cpu"), host_capacity(bare, "memory")) == (0, 0)


def test_load_of_hosts_follows_the_placement() -> None:
    cluster = make_cluster([make_host("a"), make_host("b")],
                           [make_server("s1", "a", cpu_cores=1), make_server("s2", "a", cpu_cores=0.5)])
    assert host_load(cluster, moved(cluster), "cpu") == {"a": 150, "b": 0}
    assert host_load(cluster, moved(cluster, s2="b"), "cpu") == {"a": 100, "b": 50}
