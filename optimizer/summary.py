"""The figures of a placement that an operator looks at, the same before and after."""

from collections.abc import Sequence
from dataclasses import replace

from optimizer.cluster import Cluster
from optimizer.load import Metric, host_capacity, host_load
from optimizer.objectives.hosts_in_use import bound_hosts
from optimizer.objectives.spread import spread
from optimizer.placement import Placement, ServiceChange

METRICS: tuple[Metric, ...] = ("cpu", "memory")


def summary(cluster: Cluster, placement: Placement, changes: Sequence[ServiceChange] = ()) -> dict[str, float]:
    """Hosts, servers, hosts in use and empty; with a load also spread, mean and highest load of the available hosts, in percent.

    ``changes`` are compute services that will have been enabled or disabled. A host is in use when it carries a server or
    holds something for a migration or another consumer, whatever its service.
    """
    state = {change.host: change.state for change in changes}
    cluster = replace(cluster, hosts=tuple(replace(host, status=state.get(host.name, host.status)) for host in cluster.hosts),
                      servers=tuple(replace(server, host=placement[server.id]) for server in cluster.servers))
    available = [host for host in cluster.hosts if host.available]
    used = len(set(placement.values()) | bound_hosts(cluster))
    figures: dict[str, float] = {"hosts": len(cluster.hosts), "hosts_available": len(available), "servers": len(cluster.servers),
                                 "hosts_in_use": used, "hosts_empty": len(cluster.hosts) - used}
    if cluster.load is None:
        return figures
    for metric in METRICS:
        load = host_load(cluster, placement, metric)
        shares = [100 * load[host.name] / host_capacity(host, metric) for host in available if host_capacity(host, metric)]
        if shares:
            figures[f"{metric}_spread_percent"] = round(100 * spread(cluster, placement, metric), 3)
            figures[f"{metric}_mean_percent"] = round(sum(shares) / len(shares), 3)
            figures[f"{metric}_max_percent"] = round(max(shares), 3)
    return figures
