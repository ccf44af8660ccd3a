"""Small clusters and plans for the tests of execution."""

from migrate.plan import Action, ClusterRef, MigrateInput, Plan, ServiceStateInput
from optimizer.cluster import Cluster, Flavor, Host, Inventory, Server
from optimizer.constraints.capacity import Capacity

FLAVOR = Flavor(name="f", vcpus=1, memory_mb=1024)


def rules(cluster):
    """Capacity, as Placement keeps it."""
    return (Capacity(),)


def host(name, vcpus=4, **fields):
    return Host(id=f"id-{name}", name=name, inventory={"VCPU": Inventory(total=vcpus)}, **fields)


def server(name, on, vcpus=1, **fields):
    return Server(id=name, name=name, host=on, flavor="f", resources={"VCPU": vcpus}, **fields)


def cluster(hosts, servers):
    return Cluster(name="c", taken_at="t", hosts=tuple(hosts), servers=tuple(servers), flavors={"f": FLAVOR})


def move(name, source, destination, *parents, uuid=None, kind="live"):
    return Action(
        uuid=uuid or f"{name}>{destination}",
        action_type="migrate",
        parents=parents,
        input_parameters=MigrateInput(
            resource_id=name, resource_name=name, migration_type=kind, source_node=source, destination_node=destination
        ),
    )


def switch(name, state, *parents, only_if_empty=False):
    return Action(
        uuid=f"{name}:{state}",
        action_type="change_nova_service_state",
        parents=parents,
        input_parameters=ServiceStateInput(
            resource_id=f"id-{name}",
            resource_name=name,
            state=state,
            disabled_reason="test" if state == "disabled" else None,
            only_if_empty=only_if_empty,
        ),
    )


def plan(*actions):
    hosts = {name: f"id-{name}" for action in actions for name in action.hosts}
    return Plan(
        uuid="p",
        created_at="2026-03-01T12:00:00Z",
        state="RECOMMENDED",
        goal="g",
        strategy="s",
        status="optimal",
        cluster=ClusterRef(name="c", taken_at="t", hosts=hosts),
        actions=actions,
    )
