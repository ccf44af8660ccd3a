"""What is to be done, in which order and why: the plan, and the file PLAN.json it is kept in.

Actions are named and filled as OpenStack Watcher names and fills them
(https://docs.openstack.org/watcher/latest/actions/index.html). Every field: docs/plan-format.md.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, TypeAdapter, ValidationInfo

from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from optimizer.movability import Way
from optimizer.snapshot import DocumentError, parse, read_bytes, write_bytes

ActionType = Literal["migrate", "change_nova_service_state"]

FORMAT = "placewright.plan"
VERSION = 1

# Read by pydantic when a file is validated: unknown keys are refused, and "3" is not a number.
_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True, "allow_inf_nan": False}


class PlanError(PlacewrightError):
    """A plan that contradicts itself, or that is not of this cloud and moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateInput:
    """A server (``resource_id``, ``resource_name``) goes from one host to another (service host names).

    ``evacuate``, which Watcher does not have: it is built anew there, because its host is lost.
    """

    __pydantic_config__: ClassVar = _STRICT
    resource_id: str
    resource_name: str
    migration_type: Way
    source_node: str
    destination_node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStateInput:
    """The nova-compute service of a host (``resource_id`` is the host's UUID) is enabled or disabled.

    ``only_if_empty`` is ours: the host must carry no server when the action runs, else it is skipped.
    """

    __pydantic_config__: ClassVar = _STRICT
    resource_id: str
    resource_name: str
    state: Literal["enabled", "disabled"]
    disabled_reason: str | None = None
    only_if_empty: bool = False


_INPUTS: dict[str, TypeAdapter[Any]] = {
    "migrate": TypeAdapter(MigrateInput),
    "change_nova_service_state": TypeAdapter(ServiceStateInput),
}


def _input_of_its_type(value: Any, info: ValidationInfo) -> Any:
    adapter = _INPUTS.get(info.data.get("action_type", ""))
    # From JSON again: see read_plan.
    return value if adapter is None else adapter.validate_json(json.dumps(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an action takes: GiB copied between hosts, and seconds; when it is expected to start and to end, in seconds from the beginning."""

    __pydantic_config__: ClassVar = _STRICT
    copy_gb: Annotated[float, Field(ge=0)] = 0.0
    expected_s: Annotated[float, Field(ge=0)] = 0.0
    start_s: Annotated[float, Field(ge=0)] | None = None
    end_s: Annotated[float, Field(ge=0)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step of a plan; it starts when every action in ``parents`` has ended.

    ``policy`` cites the rules it serves. ``advised`` is the rule by which it is shown and not carried out, unless that is asked for.
    """

    __pydantic_config__: ClassVar = _STRICT
    uuid: str
    action_type: ActionType
    input_parameters: Annotated[MigrateInput | ServiceStateInput, PlainValidator(_input_of_its_type)]
    parents: tuple[str, ...] = ()
    reason: str = ""
    benefit: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = Cost()
    policy: tuple[str, ...] = ()
    advised: str | None = None

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of the hosts it touches."""
        what = self.input_parameters
        return (what.source_node, what.destination_node) if isinstance(what, MigrateInput) else (what.resource_name,)

    def __str__(self) -> str:
        what = self.input_parameters
        if isinstance(what, MigrateInput):
            kind = "evacuation" if what.migration_type == "evacuate" else f"{what.migration_type} migration"
            return f"{kind} of {what.resource_name} from {what.source_node} to {what.destination_node}"
        return f"{'enable' if what.state == 'enabled' else 'disable'} nova-compute on {what.resource_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Something that was wanted and is not in the plan: the rule that forbids it, who wrote it (nobody, where it is Nova), and a sentence."""

    __pydantic_config__: ClassVar = _STRICT
    rule: str
    text: str
    server: str | None = None
    host: str | None = None
    origin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRule:
    """A rule that held when the plan was made: the statement as plain data, and who wrote it."""

    __pydantic_config__: ClassVar = _STRICT
    statement: Mapping[str, Any]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRef:
    """A source of rules as it was when the plan was made: its revision, when it was read, how old that was (seconds), and its rules."""

    __pydantic_config__: ClassVar = _STRICT
    source: str
    read_at: str
    revision: str = ""
    age_s: float = 0.0
    rules: tuple[PlannedRule, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clash:
    """Rules that cannot all hold: no one of them can be left out of the set, which therefore is as small as can be."""

    __pydantic_config__: ClassVar = _STRICT
    origins: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of the objective: the value reached, the proven bound, and the gap between them (0 = optimal)."""

    __pydantic_config__: ClassVar = _STRICT
    name: str
    value: float
    bound: float | None = None
    gap: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRef:
    """The cluster a plan was made for; ``hosts`` maps the names of its hosts to their UUIDs."""

    __pydantic_config__: ClassVar = _STRICT
    name: str
    taken_at: str
    hosts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An ordered set of actions with its reasons; ``before`` and ``after`` hold the same measures of the cluster.

    ``state`` is RECOMMENDED, or SUCCEEDED when there is nothing to do (``message`` says why). ``replan``: what cannot go as planned may be
    planned again by the same strategy.
    """

    __pydantic_config__: ClassVar = _STRICT
    uuid: str
    created_at: str
    state: Literal["RECOMMENDED", "SUCCEEDED"]
    goal: str
    strategy: str
    cluster: ClusterRef
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    objective: float | None = None
    bound: float | None = None
    gap: float | None = None
    levels: tuple[Level, ...] = ()
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)
    message: str = ""
    notes: tuple[str, ...] = ()
    policies: tuple[PolicyRef, ...] = ()
    clashes: tuple[Clash, ...] = ()
    refused: tuple[Refused, ...] = ()
    actions: tuple[Action, ...] = ()
    replan: bool = True

    def then(self, other: "Plan") -> "Plan":
        """The plan with the actions of another after its own."""
        cluster = replace(self.cluster, hosts={**self.cluster.hosts, **other.cluster.hosts})
        return replace(self, cluster=cluster, actions=(*self.actions, *other.actions))

    @property
    def expected_s(self) -> float | None:
        """Seconds until the last action is expected to end; None where that was not worked out."""
        return max((action.cost.end_s for action in self.actions if action.cost.end_s is not None), default=None)

    @property
    def copy_gb(self) -> float:
        """GiB that all actions copy between hosts."""
        return sum(action.cost.copy_gb for action in self.actions)


_PLAN = TypeAdapter(Plan)
_CLOCK_SKEW_S = 300  # by how much the clocks of two machines may differ


def dumped(plan: Plan) -> bytes:
    """The plan as it is in a file; the same for the same plan."""
    document = {"format": FORMAT, "version": VERSION, **asdict(plan)}
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def write_plan(plan: Plan, path: Path | str) -> None:
    """Write a plan file; the old file stays until the new one is whole. Raises DocumentError."""
    write_bytes(path, dumped(plan))


def read_plan(path: Path | str) -> Plan:
    """Read and validate a plan file; raises DocumentError with every fault and its path in the document."""
    return loaded(read_bytes(path), path)


def loaded(content: bytes, path: Path | str) -> Plan:
    """The plan that was ``dumped``, after the same checks; ``path`` is what DocumentError calls it."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON, or nested without end
        raise DocumentError(path, [f"is not JSON: {error}"]) from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DocumentError(path, [f'is not a plan file: an object with "format": "{FORMAT}" is expected'])
    if document.get("version") != VERSION:
        raise DocumentError(path, [f"version: {document.get('version')!r}, this program reads version {VERSION}"])
    body = {key: value for key, value in document.items() if key not in ("format", "version")}
    # As JSON again, because a strict reader takes a list for a tuple only there.
    plan = parse(path, json.dumps(body).encode(), _PLAN)
    if faults := list(faults_of(plan)):
        raise DocumentError(path, faults)
    return plan


def faults_of(plan: Plan) -> Iterator[str]:
    """What is wrong with a plan beyond its types: identities, references, order."""
    try:
        if datetime.fromisoformat(plan.created_at).utcoffset() != timedelta(0):
            yield f"created_at: {plan.created_at} is not in UTC"
    except ValueError:
        yield f"created_at: {plan.created_at!r} is not a date and time in ISO 8601"
    seen: dict[str, int] = {}
    for index, action in enumerate(plan.actions):
        if action.uuid in seen:
            yield f"actions[{index}].uuid: {action.uuid} is also the uuid of actions[{seen[action.uuid]}]"
        seen.setdefault(action.uuid, index)
    for index, action in enumerate(plan.actions):
        for number, parent in enumerate(action.parents):
            if parent not in seen:
                yield f"actions[{index}].parents[{number}]: no action has the uuid {parent}"
        yield from _input_faults(plan, index, action)
    try:
        TopologicalSorter({action.uuid: action.parents for action in plan.actions}).prepare()
    except CycleError as error:
        yield f"actions: parents form a circle: {' <- '.join(error.args[1])}"


def _input_faults(plan: Plan, index: int, action: Action) -> Iterator[str]:
    what, where = action.input_parameters, f"actions[{index}].input_parameters"
    if isinstance(what, MigrateInput) and what.source_node == what.destination_node:
        yield f"{where}.destination_node: {what.destination_node} is the source_node too"
    for name in dict.fromkeys(action.hosts):
        if name not in plan.cluster.hosts:
            yield f"{where}: host {name} is not in cluster.hosts"
    if isinstance(what, ServiceStateInput):
        known = plan.cluster.hosts.get(what.resource_name, what.resource_id)
        if what.resource_id != known:
            yield f"{where}.resource_id: {what.resource_id}, but cluster.hosts says {known} for {what.resource_name}"


def check_plan_matches(plan: Plan, cluster: Cluster, now: datetime, max_age_s: float, *, begun: bool = False) -> None:
    """Refuse (PlanError) a plan of another cluster, or one older than ``max_age_s``.

    Names of hosts are alike in many clouds (compute-1), so their UUIDs decide. ``now`` carries a time zone. Of a plan that was ``begun`` hosts may
    have gone since, when one is left to know the cluster by.
    """
    differ = []
    names = {name for action in plan.actions for name in action.hosts}
    for name in sorted((names & cluster.host_by_name.keys() if begun else None) or names):
        live, planned = cluster.host_by_name.get(name), plan.cluster.hosts[name]
        if live is None:
            differ.append(f"host {name} does not exist here")
        elif live.id != planned:
            differ.append(f"host {name} is {planned} in the plan and {live.id} here")
    if differ:
        more = f" and {len(differ) - 5} more" if len(differ) > 5 else ""
        raise PlanError(f"the plan was made for cluster {plan.cluster.name!r}, this is {cluster.name!r}: "
                        f"{'; '.join(differ[:5])}{more}. Run the audit on this cluster again.")
    age_s = (now - datetime.fromisoformat(plan.created_at)).total_seconds()
    if age_s < -_CLOCK_SKEW_S:
        raise PlanError(f"the plan was made in the future ({plan.created_at}, now it is {now.isoformat(timespec='seconds')}): "
                        "one of the two clocks is wrong. Set it, or run the audit again.")
    if age_s > max_age_s:
        raise PlanError(f"the plan is too old: made {age_s / 60:.0f} minutes ago ({plan.created_at}), "
                        f"the limit is {max_age_s / 60:.0f} minutes. Run the audit again.")
