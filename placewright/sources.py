"""Where a cluster and its load come from: a cloud, or a snapshot file."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Protocol

from openstack.connection import Connection

from datasources.assume import assume_load
from datasources.connection import connect
from datasources.errors import LoadMissing, ServiceMissing
from datasources.gnocchi import GnocchiSettings, attach_load
from datasources.inventory import read_cluster
from datasources.nova import PastMigration, list_past_migrations, nova_service
from datasources.refresh import refresh
from migrate.nova import TIMEOUT_S
from optimizer.cluster import Cluster
from optimizer.snapshot import read_snapshot
from strategies.base import LoadNeed


class Source(Protocol):
    """Something a cluster can be read from."""

    def cluster(self) -> Cluster:
        """The cluster as it is now."""
        ...

    def with_load(self, cluster: Cluster, need: LoadNeed) -> Cluster:
        """The cluster with the load a strategy needs."""
        ...

    def history(self, since: datetime) -> Sequence[PastMigration] | None:
        """The migrations that have ended well since a moment; None where that is not known."""
        ...


@dataclass(frozen=True)
class SnapshotSource:
    """A snapshot file; its load is the one that was saved with it."""

    path: Path

    def cluster(self) -> Cluster:
        """Read the file."""
        return read_snapshot(self.path)

    def history(self, since: datetime) -> Sequence[PastMigration] | None:
        """None: a snapshot knows nothing of the past."""
        return None

    def with_load(self, cluster: Cluster, need: LoadNeed) -> Cluster:
        """The saved load, or what is assumed without one; raises LoadMissing when nothing may be assumed."""
        return load_at_hand(cluster, need)


@dataclass(frozen=True)
class CloudSource:
    """A cloud of clouds.yaml or the OS_* variables (named "envvars" there); ``nova_timeout_s`` is for acting, reading has clouds.yaml's own."""

    name: str
    gnocchi: GnocchiSettings
    nova_timeout_s: float = TIMEOUT_S

    @cached_property
    def connection(self) -> Connection:
        """The connection to the cloud."""
        return connect(self.name)

    def cluster(self) -> Cluster:
        """Read hosts and servers through Nova and Placement."""
        return read_cluster(self.connection)

    def observe(self, cluster: Cluster, servers: Collection[str], hosts: Collection[str]) -> Cluster:
        """The cluster with these servers and hosts read afresh."""
        return refresh(self.connection, cluster, servers, hosts)

    def history(self, since: datetime) -> Sequence[PastMigration] | None:
        """What Nova has on record."""
        return list_past_migrations(nova_service(self.connection), since)

    def with_load(self, cluster: Cluster, need: LoadNeed) -> Cluster:
        """Read the load of all servers through Gnocchi; in a cloud that has none, take what ``need`` says of servers without measures."""
        try:
            return attach_load(self.connection, cluster, window_s=need.window_s, granularity_s=need.granularity_s,
                               statistic=need.statistic, missing=need.missing, settings=self.gnocchi)
        except ServiceMissing:
            if need.missing == "fail":
                raise
            return assume_load(cluster, need.missing)


def load_at_hand(cluster: Cluster, need: LoadNeed) -> Cluster:
    """The load the cluster carries; servers without usage get what ``need`` says, or LoadMissing names them."""
    without = [server for server in cluster.servers if server.usage is None]
    if not without:
        return cluster
    if need.missing == "fail":
        names = ", ".join(server.name for server in without[:5])
        raise LoadMissing(f"{len(without)} of {len(cluster.servers)} servers of this snapshot have no usage ({names}"
                          f"{', ...' if len(without) > 5 else ''}); save the snapshot with --load-window, or set the parameter "
                          "missing_load to flavor or idle")
    assumed = assume_load(cluster, need.missing)
    servers = tuple(server if server.usage is not None else assumed.server_by_id[server.id] for server in cluster.servers)
    load = cluster.load or assumed.load
    if load is not None:
        known = () if cluster.load is None else cluster.load.missing
        missing = tuple(dict.fromkeys((*known, *(server.id for server in without))))
        load = replace(load, missing=missing, missing_means=need.missing)
    return replace(cluster, servers=servers, load=load)


def without_partial_load(cluster: Cluster) -> Cluster:
    """The cluster; without a load when some server has none, for those who only want to show it."""
    return cluster if all(server.usage is not None for server in cluster.servers) else replace(cluster, load=None)
