"""Repair: what breaks rules is put right with as few moves as possible, and nothing else is touched."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field

from optimizer.cluster import Cluster
from optimizer.constraints.affinity import Affinity
from optimizer.constraints.anti_affinity import AntiAffinity
from optimizer.constraints.base import Constraint
from optimizer.objectives.base import Objective
from optimizer.objectives.crowded import Crowded
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.scattering import Scattering
from optimizer.placement import Move, Placement, ServiceChange, placement_of
from optimizer.problem import Problem, Term
from strategies.base import LoadNeed, Parameters


class RepairParameters(Parameters):
    """Parameters of repair."""

    evacuate_fenced: bool = Field(False, description="Servers that rules want away from hosts that are down and fenced (forced_down) are evacuated.")

    @property
    def evacuates(self) -> bool:
        """As asked."""
        return self.evacuate_fenced


class Repair:
    """Rules hold again, with the fewest moves."""

    name: ClassVar[str] = "repair"
    goal: ClassVar[str] = "policy_compliance"
    title: ClassVar[str] = "Rules that are broken hold again"
    parameters: ClassVar[type[Parameters]] = RepairParameters

    def load(self, parameters: RepairParameters) -> LoadNeed | None:
        """None: rules are repaired when telemetry does not work, too."""
        return None

    def problem(self, cluster: Cluster, rules: Sequence[Constraint], parameters: RepairParameters, max_moves: int | None) -> Problem:
        """Breaches of server groups, then the fewest moves and of these the cheapest. What policies ask for comes before (placewright.policies)."""
        broken = tuple(Term(one) for rule in rules if (one := _breaches(rule)) is not None and one.value(cluster, placement_of(cluster)) > 0)
        levels = ((broken,) if broken else ()) + ((Term(Moves()), Term(MoveCost())),)
        return Problem(cluster, tuple(rules), levels, max_moves)

    def service_changes(self, cluster: Cluster, placement: Placement, parameters: RepairParameters) -> tuple[ServiceChange, ...]:
        """None: services stay as they are."""
        return ()

    def reason(self, cluster: Cluster, before: Placement, after: Placement, move: Move, parameters: RepairParameters) -> str:
        """Which server group comes together or apart; else that the move makes room for others."""
        for group in cluster.groups:
            if move.server in group.members:
                return f"{group.policy} group {group.name} has a member on {move.source} that is to leave"
        return f"{move.source} needs room for servers that other rules send there"


def _breaches(rule: Constraint) -> Objective | None:
    """What counts the breaches of a server group's policy; the rules of policies come with their own."""
    if isinstance(rule, AntiAffinity) and not rule.origin:
        return Crowded(rule.members, rule.max_per_host)
    if isinstance(rule, Affinity):
        return Scattering(rule.members, {}, at_most=1)
    return None
