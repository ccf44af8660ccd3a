"""Load of servers and hosts as whole numbers: CPU in hundredths of a core, memory in MiB (used, or allocated).

Whole numbers let checkers, exact solver and local search agree to the last unit.
"""

import math
from typing import Literal

from optimizer.cluster import Cluster, Host, Server
from optimizer.errors import PlacewrightError
from optimizer.placement import Placement

Metric = Literal["cpu", "memory", "memory_allocated"]
"""Measured CPU, measured memory, and memory by allocation, which needs no measures."""
CENTICORES = 100


class LoadMissing(PlacewrightError):
    """A server has no usage although the load of the cluster is asked for."""


def server_load(server: Server, metric: Metric) -> int:
    """What a server uses of a metric, rounded up; raises LoadMissing when it was never measured nor assumed."""
    if metric == "memory_allocated":
        return server.resources.get("MEMORY_MB", 0)
    if server.usage is None:
        raise LoadMissing(f"server {server.name} ({server.id}) has no usage; read the load first, or say what to assume "
                          "for servers without measures")
    amount = server.usage.cpu_cores * CENTICORES if metric == "cpu" else server.usage.memory_mb
    # The small term undoes binary rounding: 0.07 cores are 7 hundredths, not 7.000000000000001.
    return math.ceil(amount - 1e-9)


def host_capacity(host: Host, metric: Metric) -> int:
    """What a host physically has of a metric, or may allocate of it, in the same units."""
    if metric == "memory_allocated":
        return host.inventory["MEMORY_MB"].capacity if "MEMORY_MB" in host.inventory else 0
    return host.physical_cores * CENTICORES if metric == "cpu" else host.memory_mb


def load_limit(host: Host, metric: Metric, max_percent: float) -> int:
    """A share of what a host has, in percent, rounded down."""
    return int(host_capacity(host, metric) * max_percent / 100)


def host_load(cluster: Cluster, placement: Placement, metric: Metric) -> dict[str, int]:
    """Host name -> the sum of its servers' load under a placement."""
    load = {host.name: 0 for host in cluster.hosts}
    for server in cluster.servers:
        load[placement[server.id]] += server_load(server, metric)
    return load


def resource_use(cluster: Cluster, placement: Placement, resource: str) -> dict[str, int]:
    """Host name -> what servers hold of a resource class under a placement."""
    used = {host.name: 0 for host in cluster.hosts}
    for server in cluster.servers:
        used[placement[server.id]] += server.resources.get(resource, 0)
    return used
