"""What Placement says: resource providers, and of each its inventory, allocations and traits.

API: https://docs.openstack.org/api-ref/placement/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from openstack.connection import Connection

from datasources.connection import Service, Version, as_promised, service
from datasources.errors import InconsistentCloud, UnexpectedAnswer
from optimizer.cluster import Inventory

NEWEST: Version = (1, 39)
LEAST: Version = (1, 14)
READINGS = 5
"""How often one provider is read again when it changes between the requests about it."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A resource provider; ``root`` is its own id unless it is nested in another one's tree."""

    id: str
    name: str
    root: str
    generation: int = field(compare=False)

    @property
    def nested(self) -> bool:
        """Whether it is a part of another provider."""
        return self.root != self.id


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one provider offers, and what each consumer (server or migration UUID) has of it."""

    inventory: Mapping[str, Inventory]
    allocations: Mapping[str, Mapping[str, int]]
    traits: tuple[str, ...]
    generation: int = field(compare=False)


def placement_service(connection: Connection) -> Service:
    """Find Placement in the catalog; raises ServiceMissing below 1.14, where providers have no tree."""
    return service(connection, "placement", "placement", least=LEAST, newest=NEWEST)


@as_promised
def list_providers(placement: Service, in_tree: str | None = None) -> dict[str, Provider]:
    """Read every resource provider, or those of one tree, by UUID; Placement does not page this list."""
    rows = placement.get("/resource_providers", {"in_tree": in_tree} if in_tree else None)["resource_providers"]
    return {
        row["uuid"]: Provider(row["uuid"], row["name"], row.get("root_provider_uuid") or row["uuid"], row["generation"])
        for row in rows
    }


@as_promised
def read_holdings(placement: Service, provider: str) -> Holdings | None:
    """Read one provider in three requests that saw the same generation of it; None when it is gone.

    Raises InconsistentCloud when it never stands still.
    """
    url = f"/resource_providers/{provider}"
    for _ in range(READINGS):
        try:
            allocations = placement.get(f"{url}/allocations")
            inventories = placement.get(f"{url}/inventories")
            traits = placement.get(f"{url}/traits")
        except UnexpectedAnswer as error:
            if error.status == 404:
                return None
            raise
        generations = {body["resource_provider_generation"] for body in (allocations, inventories, traits)}
        if len(generations) == 1:
            return Holdings(
                inventory={
                    name: Inventory(
                        total=row["total"],
                        reserved=row["reserved"],
                        allocation_ratio=row["allocation_ratio"],
                        max_unit=row["max_unit"],
                    )
                    for name, row in inventories["inventories"].items()
                },
                allocations={consumer: dict(row["resources"]) for consumer, row in allocations["allocations"].items()},
                traits=tuple(sorted(traits["traits"])),
                generation=generations.pop(),
            )
    raise InconsistentCloud(
        f"Resource provider {provider} changed {READINGS} times while it was read; please read the cloud again."
    )
