"""Small tight clusters, and legal placements far away from the present one."""

import random

from hypothesis import strategies as st

from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint, breaches
from optimizer.placement import Placement, placement_of
from tests.support.clusters import in_flight, make_cluster, make_group, make_host, make_server


def wandered(cluster: Cluster, rules: list[Constraint], chance: random.Random) -> Placement:
    """A legal placement far away: servers change host or places at random, wherever all rules agree."""
    if not cluster.servers:
        return {}
    placement = dict(placement_of(cluster))
    names = [host.name for host in cluster.hosts]
    for _ in range(12):
        trial = dict(placement)
        one, other = chance.choice(cluster.servers).id, chance.choice(cluster.servers).id
        if chance.random() < 0.5:
            trial[one], trial[other] = trial[other], trial[one]
        else:
            trial[one] = chance.choice(names)
        if not breaches(rules, cluster, trial):
            placement = trial
    return placement


@st.composite
def tight(draw: st.DrawFn) -> Cluster:
    """Hosts that are nearly full, equal in nothing, with groups that keep servers apart."""
    count = draw(st.integers(2, 5))
    hosts, servers = [], []
    for h in range(count):
        held = draw(st.sampled_from(({}, {}, {"VCPU": 1})))
        hosts.append(make_host(f"h{h}", vcpus=draw(st.integers(3, 5)), memory_mb=draw(st.sampled_from((4096, 8192))), held=held))
        room = hosts[-1].inventory["VCPU"].total - held.get("VCPU", 0) - draw(st.sampled_from((0, 0, 1, 1, 2)))
        while room > 0:
            size = min(room, draw(st.integers(1, 2)))
            servers.append(make_server(f"s{len(servers)}", f"h{h}", vcpus=size, memory_mb=draw(st.sampled_from((0, 1024, 2048))),
                                       cpu_cores=draw(st.sampled_from((0.0, 0.3, 0.9)))))
            room -= size
    ids = [server.id for server in servers]
    groups = [make_group("anti-affinity", *draw(st.lists(st.sampled_from(ids), min_size=1, max_size=4, unique=True)), name=f"g{g}",
                         max_server_per_host=draw(st.integers(1, 2))) for g in range(draw(st.integers(0, 2)) if ids else 0)]
    flying = []
    if ids and draw(st.integers(0, 3)) == 0:
        server = draw(st.sampled_from(servers))
        other = draw(st.sampled_from(hosts)).name
        flying.append(in_flight(server.id, server.host, other, **server.resources))
    return make_cluster(hosts, servers, groups=tuple(groups), migrations=tuple(flying))
