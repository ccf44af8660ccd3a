"""Demands as they will be: what servers need when they have grown, where that is too much, and the host that stands for not running."""

from collections import defaultdict
from collections.abc import Iterator, Mapping

from optimizer.cluster import Cluster, Server
from optimizer.placement import Placement

NOT_RUNNING = "(not running)"
"""The name of the host that stands for no host: a disabled one without inventory, where the servers are that do not run."""

Grown = Mapping[str, Mapping[str, int]]
"""Server id -> resource class -> the amount that it will need; who grows in nothing need not be named."""


def needed(server: Server, grown: Grown) -> Mapping[str, int]:
    """What a server needs of each resource class: the greater of what it holds and what it will need."""
    more = grown.get(server.id)
    if not more:
        return server.resources
    return {name: max(server.resources.get(name, 0), more.get(name, 0)) for name in {**server.resources, **more}}


def overloads(cluster: Cluster, placement: Placement, grown: Grown) -> Iterator[tuple[str, str, int, int]]:
    """(host, resource class, amount needed, capacity) wherever servers, other consumers and migrations need more than a host has."""
    used: dict[str, dict[str, int]] = {host: defaultdict(int, held) for host, held in cluster.held_by_others.items()}
    for server in cluster.servers:
        here = used[placement[server.id]]
        for name, amount in needed(server, grown).items():
            here[name] += amount
    for host in cluster.hosts:
        for name, amount in sorted(used[host.name].items()) if host.name != NOT_RUNNING else ():
            capacity = host.inventory[name].capacity if name in host.inventory else 0
            if amount > capacity:
                yield host.name, name, amount, capacity
