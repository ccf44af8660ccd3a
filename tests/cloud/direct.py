"""Carries plans out in the process of the test: for what the command would not let through, or does not show."""

from collections.abc import Collection

from openstack.connection import Connection

from datasources.refresh import refresh
from migrate.executor import Report, execute
from migrate.journal import NoJournal
from migrate.limits import Limits
from migrate.nova import NovaCloud
from migrate.plan import Plan
from migrate.precheck import Rules
from optimizer.cluster import Cluster


def carried_out(connection: Connection, cluster: Cluster, plan: Plan, rules: Rules, limits: Limits) -> Report:
    """What came of a plan; ``cluster`` is the cloud as it was read last."""
    def observe(servers: Collection[str], hosts: Collection[str]) -> Cluster:
        nonlocal cluster
        cluster = refresh(connection, cluster, servers, hosts)
        return cluster

    return execute(plan, NovaCloud(connection, observe), rules, limits, lambda event: None, NoJournal())
