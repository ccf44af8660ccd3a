"""Who is selected, and the domains of hosts."""

from typing import Any

import pytest

from optimizer.cluster import Aggregate, Cluster, ServerGroup
from policy_sources.vocabulary.selectors import Catalog, Hosts, Servers
from tests.support.clusters import make_cluster, make_flavor, make_host, make_server

CLUSTER: Cluster = make_cluster(
    [make_host("a1", zone="east", aggregates=("1", "2"), traits=("CUSTOM_RACK_7", "HW_CPU_X86_AVX")),
     make_host("a2", zone="east", aggregates=("2",), traits=("CUSTOM_RACK_8",)), make_host("b1", zone="west", aggregates=("3",)), make_host("b2")],
    [make_server("s1", "a1", project="p", tags=("web", "front"), metadata={"app": "shop", "tier": "gold"}, flavor="big.nvme"),
     make_server("s2", "a2", project="p", tags=("web",), metadata={"app": "shop"}, image="i"), make_server("s3", "b1", project="q", flavor="big"),
     make_server("s4", "b2")],
    aggregates=[Aggregate(id="1", name="nvme", metadata={"rack": "r1", "licence": "x"}), Aggregate(id="2", name="general-a", metadata={"rack": "r2"}),
                Aggregate(id="3", name="general-b", metadata={"rack": "r1"})],
    groups=(ServerGroup(id="g-1", name="pair", policy="affinity", members=("s1", "s3")),),
    flavors=(make_flavor("big"), make_flavor("big.nvme")))
CATALOG = Catalog(CLUSTER)


@pytest.mark.parametrize(("selector", "ids"), [
    ({"id": "s2"}, "s2"), ({"id": ["s3", "s1", "gone"]}, "s1 s3"), ({"name": "s[12]"}, "s1 s2"), ({"name": "*"}, "s1 s2 s3 s4"), ({"name": "S1"}, ""),
    ({"project": "p"}, "s1 s2"), ({"tag": "front"}, "s1"), ({"tag": ["front", "web"]}, "s1 s2"), ({"metadata": {"app": "shop"}}, "s1 s2"),
    ({"metadata": {"app": "shop", "tier": "gold"}}, "s1"), ({"flavor": "big"}, "s3"), ({"flavor": "big*"}, "s1 s3"), ({"image": "i"}, "s2"),
    ({"group": "pair"}, "s1 s3"), ({"group": "g-1"}, "s1 s3"), ({"host": "a*"}, "s1 s2"), ({"zone": ["west", "nova"]}, "s3 s4"),
    ({"project": "p", "flavor": "big*"}, "s1"), ({"project": "q", "tag": "web"}, ""), ({"tag": "w*"}, ""),
])
def test_servers(selector: dict[str, Any], ids: str) -> None:
    assert CATALOG.servers(Servers.model_validate(selector)) == tuple(ids.split())


@pytest.mark.parametrize(("selector", "names"), [
    ({"name": "a?"}, "a1 a2"), ({"id": "id-b1"}, "b1"), ({"zone": "east"}, "a1 a2"), ({"aggregate": "general-*"}, "a1 a2 b1"),
    ({"aggregate": "nvme"}, "a1"),
    ({"trait": "CUSTOM_RACK_8"}, "a2"), ({"metadata": {"rack": "r1"}}, "a1 b1"), ({"metadata": {"rack": "r1", "licence": "x"}}, "a1"),
    ({"zone": "east", "name": ["a2", "b1"]}, "a2"), ({"zone": "north"}, ""),
])
def test_hosts(selector: dict[str, Any], names: str) -> None:
    assert CATALOG.hosts(Hosts.model_validate(selector)) == tuple(names.split())


@pytest.mark.parametrize(("across", "domains"), [
    ("zone", {"a1": "east", "a2": "east", "b1": "west", "b2": "nova"}), ("host", {}),
    ("rack", {"a1": "r2", "a2": "r2", "b1": "r1"}),  # of several aggregates the first by name
    ("metadata:licence", {"a1": "x"}), ("aggregate:general-*", {"a1": "general-a", "a2": "general-a", "b1": "general-b"}),
    ("trait:CUSTOM_RACK_", {"a1": "CUSTOM_RACK_7", "a2": "CUSTOM_RACK_8"}),
])
def test_domains(across: str, domains: dict[str, str]) -> None:
    assert CATALOG.domains(across) == domains
    assert CATALOG.domains(across) is CATALOG.domains(across)  # arrays are shared by what is one object


def test_a_selection_in_words() -> None:
    assert str(Servers(tag=("a", "b", "c", "d", "e"), metadata={"k": "v"})) == "tag a or b or c or 2 more, metadata k=v"
