"""Random small clusters whose hosts have NUMA nodes, for tests."""

from dataclasses import replace

from hypothesis import strategies as st

from optimizer.cluster import Cluster, Inventory, NumaNode, Obstacle
from optimizer.placement import Placement, Seated
from tests.support.clusters import make_cluster, make_group, make_host, make_server


@st.composite
def numa_clusters(draw: st.DrawFn, max_hosts: int = 3, max_servers: int = 6) -> Cluster:
    """Clusters of hosts with two NUMA nodes, some with one or three, and servers on one node, on several, or on none that is known.

    Nodes are overfull at times, memory is short at times, hosts are disabled at times, and a group is kept apart at times.
    """
    hosts = []
    for number in range(draw(st.integers(2, max_hosts))):
        nodes = draw(st.sampled_from((2, 2, 2, 2, 1, 3)))
        cpus, memory_mb = draw(st.sampled_from((4, 6, 8))), draw(st.sampled_from((4096, 8192, 16384)))
        host = make_host(f"h{number}", vcpus=nodes * cpus, memory_mb=nodes * memory_mb, numa=(NumaNode(cpus=cpus, memory_mb=memory_mb),) * nodes,
                         status=draw(st.sampled_from(("enabled",) * 5 + ("disabled",))))
        if draw(st.integers(0, 5)) == 5:
            host = replace(host, inventory={**host.inventory, "VCPU": Inventory(total=nodes * cpus - 2)})
        hosts.append(host)
    servers = []
    for number in range(draw(st.integers(1, max_servers))):
        host = draw(st.sampled_from(hosts))
        node = draw(st.integers(0, len(host.numa) - 1))
        numa = draw(st.sampled_from(((node,), (node,), (node,), (), (0, 1)[:len(host.numa)])))
        fixed = (Obstacle(kind="pci", text="it has a card"),) if draw(st.integers(0, 7)) == 7 else ()
        servers.append(make_server(f"s{number}", host.name, vcpus=draw(st.sampled_from((1, 2, 2, 4))) * max(1, len(numa)), numa=numa,
                                   memory_mb=draw(st.sampled_from((1024, 1024, 3072))) * max(1, len(numa)), obstacles=fixed,
                                   cpu_cores=draw(st.sampled_from((0.0, 0.5, 1.25)))))
    apart = draw(st.integers(0, 4)) == 4 and len(servers) > 1
    groups = (make_group("anti-affinity", "s0", "s1"),) if apart else ()
    return make_cluster(hosts, servers, groups=groups)


@st.composite
def seated_placements(draw: st.DrawFn, cluster: Cluster, nodes: int) -> Placement:
    """Placements with NUMA nodes of servers that are on one, most of them where they are."""
    names = [host.name for host in cluster.hosts]
    hosts = {server.id: draw(st.sampled_from([*names, *[server.host] * len(names)])) for server in cluster.servers}
    return Seated(hosts, {server.id: draw(st.sampled_from((server.numa[0], *range(nodes)))) for server in cluster.servers if len(server.numa) == 1})
