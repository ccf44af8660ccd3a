"""Where servers are, and the difference between two such answers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from optimizer.cluster import Cluster

Placement = Mapping[str, str]
"""Server id -> host name, for every server of a cluster."""


@dataclass(frozen=True, slots=True)
class Move:
    """A server leaves one host for another."""

    server: str
    source: str
    destination: str


def placement_of(cluster: Cluster) -> Placement:
    """Where the servers of a cluster are now."""
    return {server.id: server.host for server in cluster.servers}


def moves_between(before: Placement, after: Placement) -> Iterator[Move]:
    """The moves that lead from one placement to another, in the order of ``before``."""
    for server, source in before.items():
        if after[server] != source:
            yield Move(server, source, after[server])


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """A compute service to be enabled or disabled along with the moves.

    ``when``: "before" the servers of the host leave, or "after" they have left, and then only if nobody is on it.
    """

    host: str
    state: Literal["enabled", "disabled"]
    reason: str
    when: Literal["before", "after"]
