"""What every strategy has in common: names, parameters, and how it turns a cluster into a problem."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint
from optimizer.errors import PlacewrightError
from optimizer.placement import Move, Placement, ServiceChange
from optimizer.problem import Problem


class ParameterError(PlacewrightError):
    """Parameters a strategy cannot take; the message lists every fault."""


@dataclass(frozen=True, slots=True)
class LoadNeed:
    """The load a strategy works on: window and granularity in seconds, statistic, and what to take for servers without measures."""

    window_s: int
    granularity_s: int
    statistic: str
    missing: Literal["fail", "flavor", "idle"]


class Parameters(BaseModel):
    """Parameters that every strategy has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    move_locked: bool = Field(False, description="Move servers that their owner has locked.")
    disable_live_migration: bool = Field(False, description="Migrate ACTIVE servers cold; they are down while they move.")
    disable_cold_migration: bool = Field(False, description="Leave servers that can only move cold.")

    @property
    def evacuates(self) -> bool:
        """Whether servers on hosts that are down and fenced are moved, by evacuation."""
        return False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.disable_live_migration and self.disable_cold_migration:
            raise ValueError("disable_live_migration and disable_cold_migration together leave no way to move a server")
        return self

    @classmethod
    def parse(cls, strategy: str, given: dict[str, Any]) -> Self:
        """Check given parameters; raises ParameterError with every fault at once."""
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            faults = []
            for fault in error.errors():
                where = ".".join(str(step) for step in fault["loc"])
                message = fault["msg"].removeprefix("Value error, ")
                if fault["type"] == "extra_forbidden":
                    message = f"there is no such parameter; known are {', '.join(sorted(cls.model_fields))}"
                shown = "" if fault["type"] in ("missing", "extra_forbidden") else f" (got {fault['input']!r})"
                faults.append(f"\n  {where or 'parameters'}: {message}{shown}")
            raise ParameterError(f"strategy {strategy}: {len(faults)} fault{'s' if len(faults) > 1 else ''} in the parameters"
                                 + "".join(faults)) from None


class LoadParameters(Parameters):
    """Parameters of the strategies that look at load."""

    granularity: int = Field(300, ge=1, description="Granularity of the stored measures, in seconds.")
    statistic: str = Field("mean", pattern=r"^(mean|p[1-9][0-9]?|p100)$",
                           description="What stands for a server over the period: mean, or a percentile from p1 to p100 (the maximum).")
    missing_load: Literal["fail", "flavor", "idle"] = Field(
        "fail", description="Servers without measures: fail names them and stops, flavor takes them to use all of their flavor, "
                            "idle takes them to use nothing.")
    aggressiveness: int = Field(3, ge=1, le=5, description="How much a move must bring for its cost: 1 only great gains, 5 any gain at all.")
    max_cpu_percent: float = Field(90.0, gt=0, le=1000, description="No host that receives a server is loaded above this share of its "
                                                                 "physical cores.")
    max_memory_percent: float = Field(95.0, gt=0, le=1000, description="The same for its physical memory.")


class Strategy(Protocol):
    """A goal turned into a problem; objects of this kind have no state."""

    name: ClassVar[str]
    goal: ClassVar[str]
    title: ClassVar[str]
    parameters: ClassVar[type[Parameters]]

    def load(self, parameters: Any) -> LoadNeed | None:
        """The load it needs, or None."""
        ...

    def problem(self, cluster: Cluster, rules: Sequence[Constraint], parameters: Any, max_moves: int | None) -> Problem:
        """The problem to solve; raises ParameterError for parameters that do not fit the cluster."""
        ...

    def service_changes(self, cluster: Cluster, placement: Placement, parameters: Any) -> Sequence[ServiceChange]:
        """Compute services to be changed along with the moves to a placement."""
        ...

    def reason(self, cluster: Cluster, before: Placement, after: Placement, move: Move, parameters: Any) -> str:
        """Why a move is made, in one sentence; ``before`` is the placement just before it, ``after`` the one that the plan reaches."""
        ...
