"""How many migrations may run at once, and the one place that says whether one more may start."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from migrate.plan import MigrateInput
from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError

Place = Hashable
"""What a migration takes up while it runs, by name."""


class LimitError(PlacewrightError):
    """A limit out of its range, or of an aggregate that is not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many migrations may run at once, in all, and per host (from or to it, from it, to it), and per aggregate; times in seconds.

    out_of_host, into_host
        None: no limit of their own, beyond ``per_host``.
    in_aggregate
        Name of an aggregate -> migrations at once from, to or between its hosts.
    aggregates_of
        Name of a host -> those aggregates that it is in; ``within`` looks them up.
    action_timeout_s
        The least that an action gets; one that is expected to take long gets a multiple of that.
    stall_timeout_s, on_stall
        A live migration that has come no nearer to its end for so long is treated so.
    on_interrupt
        And so is one that runs when the execution is interrupted.
    """

    total: int = 8
    per_host: int = 2
    out_of_host: int | None = None
    into_host: int | None = None
    in_aggregate: Mapping[str, int] = field(default_factory=dict)
    aggregates_of: Mapping[str, tuple[str, ...]] | None = None
    poll_interval_s: float = 2.0
    action_timeout_s: float = 3600.0
    stall_timeout_s: float = 300.0
    on_stall: Literal["abort", "force_complete", "wait"] = "abort"
    on_interrupt: Literal["wait", "abort"] = "wait"

    def __post_init__(self) -> None:
        counts = {name: getattr(self, name) for name in ("total", "per_host", "out_of_host", "into_host")}
        for name, most in {**counts, **{f"in_aggregate of {name}": most for name, most in self.in_aggregate.items()}}.items():
            if most is not None and most < 1:
                raise LimitError(f"limit {name} is {most}; 1 or more is expected")
        for name in ("poll_interval_s", "action_timeout_s", "stall_timeout_s"):
            if not getattr(self, name) > 0:
                raise LimitError(f"limit {name} is {getattr(self, name)}; more than 0 seconds is expected")

    def places(self, what: MigrateInput) -> Mapping[Place, int]:
        """What a migration takes up one of while it runs, and how many there are of each; a host that is lost has no part in an evacuation."""
        source, destination = what.source_node, what.destination_node
        hosts = (destination,) if what.migration_type == "evacuate" else (source, destination)
        found: dict[Place, int] = {"cloud": self.total, **{("host", host): self.per_host for host in hosts}}
        if self.out_of_host is not None and source in hosts:
            found["out of", source] = self.out_of_host
        if self.into_host is not None:
            found["into", destination] = self.into_host
        if self.in_aggregate:
            assert self.aggregates_of is not None, "limits of aggregates without their hosts"
            touched = {name for host in hosts for name in self.aggregates_of.get(host, ())}
            found.update({("aggregate", name): self.in_aggregate[name] for name in sorted(touched)})
        return found


USUAL_LIMITS = Limits()
"""Where nothing else is said."""


def within(limits: Limits, cluster: Cluster) -> Limits:
    """The limits with the hosts of their aggregates; raises LimitError for an aggregate that the cluster does not have."""
    if not limits.in_aggregate:
        return limits
    names = {aggregate.id: aggregate.name for aggregate in cluster.aggregates}
    if missing := sorted(limits.in_aggregate.keys() - set(names.values())):
        known = ", ".join(sorted(names.values())) or "none at all"
        raise LimitError(f"parallel_in_aggregate: {cluster.name} has no aggregate {', '.join(missing)}; it has {known}")
    limited = {host.name: tuple(names[key] for key in host.aggregates if names.get(key) in limits.in_aggregate) for host in cluster.hosts}
    return replace(limits, aggregates_of={host: some for host, some in limited.items() if some})


class Traffic:
    """Migrations under way, counted against the limits."""

    def __init__(self, limits: Limits, flights: Iterable[MigrateInput] = ()) -> None:
        self._limits = limits
        self._taken = Counter[Place](place for one in flights for place in limits.places(one))

    @property
    def full(self) -> bool:
        """Whether there is room for nothing more."""
        return self._taken["cloud"] >= self._limits.total

    def admits(self, what: MigrateInput) -> bool:
        """Whether the limits allow one more; then it counts from now on."""
        places = self._limits.places(what)
        if any(self._taken[place] >= most for place, most in places.items()):
            return False
        self._taken.update(places.keys())
        return True
