"""Where servers are, and the difference between two such answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from optimizer.cluster import Cluster, Server

Placement = Mapping[str, str]
"""Server id -> host name, for every server of a cluster."""


class Seated(dict[str, str]):
    """A placement that also says which NUMA node a server is on (``seat``: server id -> number), for servers that fit on one."""

    def __init__(self, hosts: Mapping[str, str], seat: Mapping[str, int]) -> None:
        """Take over hosts and seats."""
        super().__init__(hosts)
        self.seat: Mapping[str, int] = seat


def seats_of(cluster: Cluster, placement: Placement) -> Mapping[str, int]:
    """Server id -> the NUMA node it is on in a placement; where that says nothing, the one it is on now."""
    now = {server.id: server.numa[0] for server in cluster.servers if len(server.numa) == 1}
    return {**now, **placement.seat} if isinstance(placement, Seated) else now


@dataclass(frozen=True, slots=True)
class Move:
    """A server leaves one host for another."""

    server: str
    source: str
    destination: str


def placement_of(cluster: Cluster) -> Placement:
    """Where the servers of a cluster are now."""
    hosts = {server.id: server.host for server in cluster.servers}
    return Seated(hosts, seats_of(cluster, hosts)) if any(server.numa for server in cluster.servers) else hosts


def moves_between(before: Placement, after: Placement) -> Iterator[Move]:
    """The moves that lead from one placement to another, in the order of ``before``; a change of NUMA node is one."""
    seats = (before.seat, after.seat) if isinstance(before, Seated) and isinstance(after, Seated) else ({}, {})
    for server, source in before.items():
        if after[server] != source or seats[0].get(server) != seats[1].get(server):
            yield Move(server, source, after[server])


def arrivals(cluster: Cluster, placement: Placement) -> Mapping[str, Server]:
    """Server id -> server, for those that are on another host than the cluster has them, or on another NUMA node."""
    seats = placement.seat if isinstance(placement, Seated) else {}
    return {server.id: server for server in cluster.servers
            if placement[server.id] != server.host or (len(server.numa) == 1 and seats.get(server.id, server.numa[0]) != server.numa[0])}


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """A compute service to be enabled or disabled along with the moves.

    ``when``: "before" the servers of the host leave, or "after" they have left, and then only if nobody is on it.
    """

    host: str
    state: Literal["enabled", "disabled"]
    reason: str
    when: Literal["before", "after"]
