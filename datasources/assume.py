"""Load for servers that nobody measures: the operator's explicit choice, never a guess of ours."""

from dataclasses import replace
from typing import Literal

from optimizer.cluster import Cluster, Load, Server, Usage

Assumption = Literal["flavor", "idle"]


def assumed_usage(cluster: Cluster, server: Server, missing: Assumption) -> Usage:
    """What a server without measures is taken to use: all that its flavor allows, or nothing."""
    if missing == "idle":
        return Usage(cpu_cores=0.0, memory_mb=0.0, assumed=True)
    flavor = cluster.flavor_of(server)
    return Usage(cpu_cores=float(flavor.vcpus), memory_mb=float(flavor.memory_mb), assumed=True)


def assume_load(cluster: Cluster, missing: Assumption) -> Cluster:
    """Return the cluster with an assumed Usage on every server, for a cloud without any metrics."""
    servers = tuple(replace(one, usage=assumed_usage(cluster, one, missing)) for one in cluster.servers)
    everyone = tuple(one.id for one in cluster.servers)
    load = Load(source="assumed", window_s=0, statistic="mean", missing=everyone, missing_means=missing)
    return replace(cluster, servers=servers, load=load)
