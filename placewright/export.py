"""Tell Nova the rules that it can enforce itself."""

from collections.abc import Callable, Sequence
from functools import partial

from migrate.cloud import CallFailed
from migrate.nova import NovaCloud
from migrate.plan import ServiceStateInput
from optimizer.cluster import Cluster
from placewright.sources import CloudSource
from policy_sources.nova_export import Change, Disable


def write(source: CloudSource, cluster: Cluster, changes: Sequence[Change], say: Callable[[str], None]) -> None:
    """Make the changes in Nova, one after the other; raises CallFailed at the first that it refuses. None of them undoes anything."""
    if not changes:
        return
    cloud = NovaCloud(source.connection, partial(source.observe, cluster), source.nova_timeout_s)
    for done, change in enumerate(changes):
        say(str(change))
        try:
            _write(cloud, cluster, change)
        except CallFailed as error:
            raise CallFailed(f"{change}: {error} ({done} of {len(changes)} changes are made; the command can be run again)") from error


def _write(cloud: NovaCloud, cluster: Cluster, change: Change) -> None:
    if not isinstance(change, Disable):
        cloud.reserve(change.aggregate, change.hosts, change.metadata)
        return
    outcome = cloud.set_service(ServiceStateInput(resource_id=cluster.host_by_name[change.host].id, resource_name=change.host, state="disabled",
                                                  disabled_reason=change.reason))
    if outcome.state == "FAILED":
        raise CallFailed(outcome.text)
