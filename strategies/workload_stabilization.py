"""Even load: bring the spread of the hosts' load below a threshold with as little moving as possible."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from optimizer.cluster import Cluster
from optimizer.constraints.base import Constraint
from optimizer.constraints.load_limit import LoadLimit
from optimizer.load import CENTICORES, Metric, host_capacity, host_load, server_load
from optimizer.objectives.move_cost import MoveCost
from optimizer.objectives.moves import Moves
from optimizer.objectives.spread import Spread
from optimizer.placement import Move, Placement, ServiceChange
from optimizer.problem import Problem, Term
from strategies.base import LoadNeed, LoadParameters, Parameters

_METRIC: dict[str, Metric] = {"instance_cpu_usage": "cpu", "instance_ram_usage": "memory"}
# The gain in mean squared distance that moving the whole cluster once would have to bring. Moving an average server between two
# hosts at half load gains about its share of the cluster times the difference of their loads after the move: 0.1 asks for
# ten percentage points of difference.
_COST_WEIGHT = {1: 0.4, 2: 0.2, 3: 0.1, 4: 0.05, 5: 0.0}


class WorkloadStabilizationParameters(LoadParameters):
    """Parameters of workload_stabilization; names as in Watcher."""

    metrics: tuple[Literal["instance_cpu_usage", "instance_ram_usage"], ...] = Field(
        ("instance_cpu_usage",), min_length=1, description="What is balanced.")
    thresholds: dict[str, float] = Field(
        {"instance_cpu_usage": 0.1, "instance_ram_usage": 0.1}, validate_default=True,
        description="Spread (standard deviation of host load as a share) that is good enough, 0 to 1, by metric.")
    weights: dict[str, float] = Field(
        {"instance_cpu_usage_weight": 1.0, "instance_ram_usage_weight": 1.0}, validate_default=True,
        description="Weight of each metric when several are balanced.")
    periods: dict[Literal["instance", "compute_node", "node"], int] = Field(
        {"instance": 720, "compute_node": 600, "node": 0}, validate_default=True,
        description="Seconds of load to look at; only instance counts, host load is the sum of its servers.")
    aggregation_method: dict[Literal["instance", "compute_node", "node"], Literal["mean", "max", ""]] = Field(
        {"instance": "mean", "compute_node": "mean", "node": ""},
        description="Taken from Watcher audits: instance, mean or max, stands for the statistic when that is not given.")
    instance_metrics: dict[str, str] = Field({"instance_cpu_usage": "host_cpu_usage", "instance_ram_usage": "host_ram_usage"},
                                             description="Taken from Watcher audits, without effect: host load is the sum of its servers.")
    host_choice: Literal["retry", "cycle", "fullsearch"] = Field(
        "retry", description="Taken from Watcher audits, without effect: every host is considered.")
    retry_count: int = Field(1, ge=1, description="Taken from Watcher audits, without effect.")

    @model_validator(mode="before")
    @classmethod
    def _statistic_of_watcher(cls, given: Any) -> Any:
        """Settled here and not when the load is read, so that the parameters in a plan mean the same when it is carried out."""
        method = given.get("aggregation_method") if isinstance(given, dict) else None
        if isinstance(method, dict) and method.get("instance") == "max" and "statistic" not in given:
            return {**given, "statistic": "p100"}
        return given

    @field_validator("thresholds", "weights", "periods", mode="before")
    @classmethod
    def _complete(cls, value: object, info: Any) -> object:
        """Take what is not given from the defaults."""
        default = cls.model_fields[info.field_name].default
        return {**default, **value} if isinstance(value, dict) else value

    @field_validator("thresholds")
    @classmethod
    def _shares(cls, value: dict[str, float]) -> dict[str, float]:
        for name, threshold in value.items():
            if name not in _METRIC or not 0 <= threshold <= 1:
                raise ValueError(f"{name}={threshold}: need {' or '.join(_METRIC)} and a share from 0 to 1")
        return value

    @field_validator("weights")
    @classmethod
    def _weights(cls, value: dict[str, float]) -> dict[str, float]:
        for name, weight in value.items():
            if name not in {f"{metric}_weight" for metric in _METRIC} or not 0 <= weight <= 100:
                raise ValueError(f"{name}={weight}: need {'_weight or '.join(_METRIC)}_weight and a weight from 0 to 100")
        return value

    @field_validator("periods")
    @classmethod
    def _period(cls, value: dict[str, int]) -> dict[str, int]:
        if value["instance"] < 1:
            raise ValueError(f"instance={value['instance']}: need 1 second or more")
        return value

    @model_validator(mode="after")
    def _something_counts(self) -> Self:
        if not any(self.weights[f"{name}_weight"] for name in self.metrics):
            raise ValueError(f"weights: {' and '.join(self.metrics)} have weight 0; at least one needs a weight above 0")
        return self


class WorkloadStabilization:
    """Even load on the hosts, measured over the servers."""

    name: ClassVar[str] = "workload_stabilization"
    goal: ClassVar[str] = "workload_balancing"
    title: ClassVar[str] = "Even load on all hosts"
    parameters: ClassVar[type[Parameters]] = WorkloadStabilizationParameters

    def load(self, parameters: WorkloadStabilizationParameters) -> LoadNeed:
        """The load of the servers over periods.instance."""
        return LoadNeed(parameters.periods["instance"], parameters.granularity, parameters.statistic, parameters.missing_load)

    def problem(self, cluster: Cluster, rules: Sequence[Constraint], parameters: WorkloadStabilizationParameters,
                max_moves: int | None) -> Problem:
        """Spread above the thresholds plus the weighed cost of moving; with any gain wanted, the spread first and then the fewest moves.

        MoveCost is below 1 for any part of the cluster, so that it decides between plans with equally many moves.
        """
        limits = (LoadLimit("cpu", parameters.max_cpu_percent), LoadLimit("memory", parameters.max_memory_percent))
        spread = tuple(Term(Spread(_METRIC[name], parameters.thresholds[name]), parameters.weights[f"{name}_weight"])
                       for name in dict.fromkeys(parameters.metrics))
        weight = _COST_WEIGHT[parameters.aggressiveness]
        if weight:
            return Problem(cluster, (*rules, *limits), ((*spread, Term(MoveCost(), weight)),), max_moves)
        return Problem(cluster, (*rules, *limits), (spread, (Term(Moves()), Term(MoveCost()))), max_moves)

    def service_changes(self, cluster: Cluster, placement: Placement, parameters: WorkloadStabilizationParameters) -> tuple[ServiceChange, ...]:
        """None: services stay as they are."""
        return ()

    def reason(self, cluster: Cluster, before: Placement, after: Placement, move: Move, parameters: WorkloadStabilizationParameters) -> str:
        """The loads of both hosts and what the server takes along, by each metric that is balanced."""
        server, hosts, loads, takes = cluster.server_by_id[move.server], (move.source, move.destination), [], []
        for metric in dict.fromkeys(_METRIC[name] for name in parameters.metrics):
            load = host_load(cluster, before, metric)
            source, target = (100 * load[name] / max(1, host_capacity(cluster.host_by_name[name], metric)) for name in hosts)
            amount, word = server_load(server, metric), "CPU" if metric == "cpu" else "memory"
            loads.append(f"{move.source} is at {source:.0f} % {word}, {move.destination} at {target:.0f} %")
            takes.append(f"{amount / CENTICORES:.2f} cores" if metric == "cpu" else f"{amount} MiB")
        return f"{'; '.join(loads)}; {server.name} uses {' and '.join(takes)}"
