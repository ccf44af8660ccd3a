"""Rules about groups of servers: together, apart, spread over domains, near to others."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.dependency import Dependency
from optimizer.constraints.fault_domains import FaultDomains
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.lonely import Lonely
from optimizer.objectives.scattering import Scattering
from policy_sources.vocabulary.base import Draft, Statement
from policy_sources.vocabulary.selectors import Servers

Across = Annotated[str, StringConstraints(pattern=r"^(zone|rack|metadata:.+|aggregate:.+|trait:.+)$")]
"""A division of the hosts into domains: by ``zone``, ``rack`` (aggregate metadata of that name), ``metadata:KEY`` of aggregates,
``aggregate:PATTERN`` (the first aggregate of the host with such a name), ``trait:PREFIX`` (the first trait of the host that begins so).
A host in none is a domain of its own."""

Within = Annotated[str, StringConstraints(pattern=r"^(host|zone|rack|metadata:.+|aggregate:.+|trait:.+)$")]
"""The same, and ``host``: each host is a domain of its own."""


class Together(Statement):
    """Members share a host, or a domain; they may be apart for a while when they move, one after the other."""

    title: ClassVar[str] = "servers share a host, zone or rack"
    rule: Literal["together"]
    servers: Servers = Field(description="The members.")
    within: Within = Field("host", description="What they share.")

    def draft(self, into: Draft, origin: str) -> None:
        """Never in more domains than now; each domain beyond the first is a breach."""
        members = into.servers(self.servers, origin)
        if len(members) > 1:
            domains = into.catalog.domains(self.within)
            into.add(Scattering(members, domains, at_most=1, origin=origin),
                       FaultDomains(origin, members, domains, at_least=1, at_most=1, origin=origin), self.should)


class Apart(Statement):
    """No host carries more than some of the members."""

    title: ClassVar[str] = "at most some of the servers on one host"
    rule: Literal["apart"]
    servers: Servers = Field(description="The members.")
    max_per_host: int = Field(1, ge=1, description="How many one host may carry.")
    during_moves: bool = Field(True, description="Also while servers move, when a server in flight counts on both hosts.")

    def draft(self, into: Draft, origin: str) -> None:
        """A member too many on a host is a breach."""
        members = into.servers(self.servers, origin)
        if len(members) > self.max_per_host:
            into.add(Crowded(members, self.max_per_host, origin=origin),
                       AntiAffinity(origin, members, self.max_per_host, continuous=self.during_moves, origin=origin), self.should)


class Spread(Statement):
    """The members are in several zones, racks or other domains."""

    title: ClassVar[str] = "servers in several zones, racks or other domains"
    rule: Literal["spread"]
    servers: Servers = Field(description="The members.")
    across: Across = Field(description="What they are spread over.")
    at_least: int | None = Field(None, ge=2, description="In how many domains; without it in as many as there are members or domains.")

    def draft(self, into: Draft, origin: str) -> None:
        """Each domain too few is a breach. Asking for more domains than there are is one that cannot be mended."""
        members = into.servers(self.servers, origin)
        if len(members) < 2:
            return
        domains = into.catalog.domains(self.across)
        there = len({domains.get(host.name, f"host {host.name}") for host in into.catalog.cluster.hosts})
        least = self.at_least if self.at_least is not None else min(len(members), there)
        into.add(Scattering(members, domains, at_least=least, origin=origin),
                   FaultDomains(origin, members, domains, at_least=least, origin=origin), self.should)


class Near(Statement):
    """Wherever a member is, one of the servers it needs is in the same domain."""

    title: ClassVar[str] = "servers near others that they need"
    rule: Literal["near"]
    servers: Servers = Field(description="Who needs the others.")
    needs: Servers = Field(description="Who is needed; one of them is enough.")
    within: Within = Field("zone", description="How near.")

    def draft(self, into: Draft, origin: str) -> None:
        """A member without any of the needed in its domain is a breach."""
        members, needs = into.servers(self.servers, origin), into.servers(self.needs, origin)
        if members:
            domains = into.catalog.domains(self.within)
            into.add(Lonely(members, needs, domains, origin=origin),
                       Dependency(origin, members, "the servers named under needs", needs, domains, origin=origin), self.should)
