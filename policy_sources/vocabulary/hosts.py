"""Rules about hosts: who belongs on them, who does not, and which are to be emptied."""

from typing import ClassVar, Literal

from pydantic import Field

from policy_sources.vocabulary.base import Draft, Statement
from policy_sources.vocabulary.selectors import Hosts, Servers


class On(Statement):
    """The servers are on some of the hosts."""

    title: ClassVar[str] = "servers on certain hosts"
    rule: Literal["on"]
    servers: Servers = Field(description="Who.")
    hosts: Hosts = Field(description="Where.")

    def draft(self, into: Draft, origin: str) -> None:
        """A server elsewhere is a breach."""
        into.place(into.servers(self.servers, origin), into.hosts(self.hosts, origin), inside=True, should=self.should, origin=origin)


class NotOn(Statement):
    """The servers are on none of the hosts."""

    title: ClassVar[str] = "servers not on certain hosts"
    rule: Literal["not_on"]
    servers: Servers = Field(description="Who.")
    hosts: Hosts = Field(description="Where not.")

    def draft(self, into: Draft, origin: str) -> None:
        """A server there is a breach."""
        into.place(into.servers(self.servers, origin), into.hosts(self.hosts, origin), inside=False, should=self.should, origin=origin)


class Exclusive(Statement):
    """The hosts are for certain servers alone; these may be elsewhere too (an ``on`` rule holds them there)."""

    title: ClassVar[str] = "hosts for certain servers alone"
    rule: Literal["exclusive"]
    hosts: Hosts = Field(description="The hosts.")
    servers: Servers = Field(description="Whom they are for.")

    def draft(self, into: Draft, origin: str) -> None:
        """Any other server there is a breach."""
        members = set(into.servers(self.servers, origin))
        others = (server.id for server in into.catalog.cluster.servers if server.id not in members)
        into.place(others, into.hosts(self.hosts, origin), inside=False, should=self.should, origin=origin)


class Evacuate(Statement):
    """All servers leave the hosts, and none comes."""

    title: ClassVar[str] = "hosts that all servers leave"
    rule: Literal["evacuate"]
    hosts: Hosts = Field(description="The hosts to be emptied.")

    def draft(self, into: Draft, origin: str) -> None:
        """A server there is a breach."""
        everybody = (server.id for server in into.catalog.cluster.servers)
        into.place(everybody, into.hosts(self.hosts, origin), inside=False, should=self.should, origin=origin)


class Quarantine(Statement):
    """No server comes to the hosts; those on them may stay."""

    title: ClassVar[str] = "hosts that no server comes to"
    rule: Literal["quarantine"]
    should: None = Field(None, description="Such a rule always must hold.")
    hosts: Hosts = Field(description="The hosts.")

    def draft(self, into: Draft, origin: str) -> None:
        """Only an arrival is a breach."""
        everybody = (server.id for server in into.catalog.cluster.servers)
        into.place(everybody, into.hosts(self.hosts, origin), inside=False, should=None, origin=origin, repair=False)
