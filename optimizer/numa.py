"""What servers take of the NUMA nodes of their hosts."""

from optimizer.cluster import Host, Server

RESOURCES = ("VCPU", "PCPU", "MEMORY_MB")
"""The resource classes that lie on NUMA nodes."""


def share(server: Server, resource: str) -> int:
    """What a server takes of a resource class on each of its NUMA nodes."""
    return -(-server.resources.get(resource, 0) // max(1, len(server.numa)))


def node_room(host: Host, node: int, resource: str) -> int:
    """What a NUMA node offers of a resource class; 0 where the host has no such node. Shared cores and memory count with their allocation ratio."""
    if node >= len(host.numa):
        return 0
    amount = host.numa[node].memory_mb if resource == "MEMORY_MB" else host.numa[node].cpus
    ratio = host.inventory[resource].allocation_ratio if resource in host.inventory else 1.0
    return int(amount * ratio)
