"""How much came of what a plan promised."""

from dataclasses import dataclass

from migrate.plan import MigrateInput, Plan
from optimizer.cluster import Cluster
from optimizer.placement import placement_of
from optimizer.problem import level_name
from placewright.policies import with_policy
from policy_sources.vocabulary.base import Policy
from strategies.base import ParameterError, Parameters, Strategy

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class Achieved:
    """The first level of the objective that the plan was to improve, by name: before, promised and reached, under one and the same load."""

    level: str
    before: float
    promised: float
    reached: float

    @property
    def percent(self) -> float:
        """Of the improvement; below 0 where it is worse than before."""
        return 100 * (self.before - self.reached) / (self.before - self.promised)


def achieved(plan: Plan, strategy: Strategy, parameters: Parameters, policy: Policy, before: Cluster, after: Cluster) -> Achieved | None:
    """What the plan's strategy has to say of the clusters before and after it; None for a plan that it did not make, or whose load is not known.

    Servers that are new do not count, nor does what has become of those that are gone.
    """
    if before.load is None and strategy.load(parameters) is not None:
        return None
    try:
        problem = with_policy(strategy.problem(before, (), parameters, None), policy)
    except ParameterError:  # such as a host that is not there any more
        return None
    names = [level_name(level) for level in problem.levels]
    if names != [level.name for level in plan.levels]:
        return None
    now = placement_of(before)
    moves = [action.input_parameters for action in plan.actions if isinstance(action.input_parameters, MigrateInput)]
    wanted = {**now, **{what.resource_id: what.destination_node for what in moves if what.resource_id in now}}
    there = {server: after.server_by_id[server].host if server in after.server_by_id else host for server, host in wanted.items()}
    for name, *values in zip(names, problem.values(now), problem.values(wanted), problem.values(there), strict=True):
        if abs(values[0] - values[1]) > _SAME:
            return Achieved(name, *values)
    return None
