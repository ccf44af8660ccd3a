"""The page about a plan that was carried out: one HTML file without scripts and without anything from elsewhere."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from migrate.executor import ActionReport
from migrate.plan import MigrateInput, Plan
from optimizer.load import Metric
from optimizer.snapshot import write_bytes
from placewright import picture, timeline
from placewright.apply import Outcome

_PANELS: tuple[tuple[Metric, str, str], ...] = (
    ("cpu", "CPU", "max_cpu_percent"),
    ("memory", "Memory", "max_memory_percent"),
)
_TELLING = ("Hosts in use", "CPU spread", "Memory spread", "CPU max", "Hosts available", "Servers")
_SAME = 0.0005  # figures are rounded to three digits


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure: before, promised and reached; None where it is not known."""

    name: str
    unit: str
    before: float | None
    promised: float | None
    reached: float | None

    @property
    def kept(self) -> bool | None:
        """Whether what was promised was reached; None where there is nothing to compare."""
        return None if self.promised is None or self.reached is None else abs(self.promised - self.reached) <= _SAME

    @property
    def changed(self) -> bool:
        """Whether it was to change, or did."""
        return any(
            other is not None and self.before is not None and abs(other - self.before) > _SAME
            for other in (self.promised, self.reached)
        )


@dataclass(frozen=True, slots=True)
class Panel:
    """The picture of one metric."""

    title: str
    skyline: picture.Skyline
    histogram: tuple[picture.Bin, ...]
    mean: tuple[float, float]
    highest: tuple[float, float]
    courses: timeline.Courses


def write_page(plan: Plan, outcome: Outcome, path: Path) -> None:
    """Write the page; raises DocumentError when the file cannot be written."""
    write_bytes(path, render(plan, outcome).encode())


def render(plan: Plan, outcome: Outcome) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("placewright"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=number, clock=picture.clock, words=_words, parameter=_parameter)
    done = outcome.report.actions
    moved = [one for one in done if isinstance(one.action.input_parameters, MigrateInput)]
    succeeded = [one for one in moved if one.state == "SUCCEEDED"]
    figures, panels = list(_figures(plan, outcome)), list(_panels(plan, outcome))
    return environment.get_template("page.html.j2").render(
        plan=plan,
        outcome=outcome,
        headline=headline(plan, outcome),
        lead=lead(plan, outcome, figures),
        tiles=tiles(figures),
        figures=figures,
        panels=panels,
        limited=any(panel.skyline.limit is not None for panel in panels),
        measured=_load_words(outcome),
        rows=list(_rows(done)),
        timeline=timeline.timeline(done, outcome.report.seconds),
        moved=len(moved),
        succeeded=len(succeeded),
        copied_gb=sum(one.action.cost.copy_gb for one in succeeded),
        seconds=outcome.report.seconds,
        counts=dict(sorted(outcome.report.counts.items())),
        geometry=picture,
        over_time=timeline,
    )


def headline(plan: Plan, outcome: Outcome) -> str:
    """What was achieved, in one sentence made of measured figures."""
    if not plan.actions:
        return plan.message.split(": ")[0].rstrip(".") + "." if plan.message else "Nothing was to be done."
    moved = sum(
        one.state == "SUCCEEDED" and isinstance(one.action.input_parameters, MigrateInput)
        for one in outcome.report.actions
    )
    return _GOALS.get(plan.goal, _any_goal)(plan, outcome, _count(moved, "migration"))


def _consolidated(plan: Plan, outcome: Outcome, moves: str) -> str:
    was, now = outcome.present.get("hosts_in_use", 0), outcome.reached.get("hosts_in_use", 0)
    if now >= was:
        return f"No host emptied, after {moves}."
    return f"{_count(was - now, 'host')} emptied with {moves}: {number(now)} now carry what {number(was)} carried."


def _balanced(plan: Plan, outcome: Outcome, moves: str) -> str:
    for metric, words in (("cpu", "CPU"), ("memory", "Memory")):
        was, now = outcome.present.get(f"{metric}_spread_percent"), outcome.reached.get(f"{metric}_spread_percent")
        if was is not None and now is not None and was - now > _SAME:
            return f"{words} spread down from {was:.1f} to {now:.1f} percentage points with {moves}."
    return f"{moves} carried out; the spread of the load is not below what it was."


def _drained(plan: Plan, outcome: Outcome, moves: str) -> str:
    node = str(plan.parameters.get("maintenance_node", "the host"))
    node = next((host.name for host in outcome.after.hosts if node in (host.name, host.id)), node)
    left = len(outcome.after.servers_on.get(node, ()))
    return (
        f"{node} is empty after {moves}."
        if not left
        else f"{node} still carries {_count(left, 'server')} after {moves}."
    )


def _any_goal(plan: Plan, outcome: Outcome, moves: str) -> str:
    return f"{moves} carried out."


_GOALS: Mapping[str, Callable[[Plan, Outcome, str], str]] = {
    "server_consolidation": _consolidated,
    "workload_balancing": _balanced,
    "cluster_maintaining": _drained,
}


def lead(plan: Plan, outcome: Outcome, figures: Sequence[Figure]) -> str:
    """Whether the promise was kept, in a sentence."""
    if not plan.actions:
        return f"{plan.message} The plan is empty; the cluster was left as it is.".lstrip()
    wrong = [(n, state.lower()) for state, n in sorted(outcome.report.counts.items()) if state != "SUCCEEDED"]
    missed = sum(figure.kept is False for figure in figures)
    done = (
        "Every action succeeded"
        if not wrong
        else f"Of {_count(len(outcome.report.actions), 'action')}, " + ", ".join(f"{n} {s}" for n, s in wrong)
    )
    kept = (
        "every figure is as promised"
        if not missed
        else f"{_count(missed, 'figure')} of {len(figures)} differ from what was promised"
    )
    told = f"{done}, and {kept}." if not wrong and not missed else f"{done}; {kept}."
    return told if outcome.follow_up is None else f"{told} {outcome.follow_up.message}"


def tiles(figures: Sequence[Figure], most: int = 3) -> list[Figure]:
    """The figures to begin with: the telling ones that changed, or were to; then others of them."""
    telling = [figure for name in _TELLING for figure in figures if figure.name == name]
    return sorted(telling, key=lambda figure: not figure.changed)[:most]


def _figures(plan: Plan, outcome: Outcome) -> Iterator[Figure]:
    for key in dict.fromkeys((*outcome.present, *outcome.promised, *outcome.reached)):
        name = key.removesuffix("_percent").replace("_", " ").replace("cpu", "CPU")
        yield Figure(
            name[:1].upper() + name[1:],
            "%" if key.endswith("_percent") else "",
            outcome.present.get(key),
            outcome.promised.get(key),
            outcome.reached.get(key),
        )


def _panels(plan: Plan, outcome: Outcome) -> Iterator[Panel]:
    for metric, title, limit in _PANELS:
        shares = picture.host_shares(outcome.before, outcome.after, metric)
        if not shares:
            continue
        before, after = (
            [share.before for share in shares],
            [share.after for share in shares if not (share.closed and not share.servers_after)],
        )
        set_limit = plan.parameters.get(limit) if picture.has_load(outcome.before, outcome.after) else None
        known = set_limit if isinstance(set_limit, int | float) else None
        yield Panel(
            title,
            picture.skyline(shares, known),
            picture.histogram(shares),
            (_mean(before), _mean(after)),
            (max(before), max(after, default=0.0)),
            timeline.courses(outcome.before, outcome.after, outcome.report.actions, outcome.report.seconds, metric, known),
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _load_words(outcome: Outcome) -> str:
    """Where the load in the picture comes from."""
    load = outcome.before.load
    if load is None or outcome.after.load is None:
        return "No load is known: the bars show what is allocated (VCPU, memory) as a share of capacity."
    count = len(outcome.before.servers)
    source = f"{load.statistic} over {picture.clock(load.window_s)}, from {load.source}"
    if not load.missing:
        return f"Load of the servers: {source}."
    assumed = {"flavor": "taken to use all of their flavor", "idle": "taken to use nothing"}.get(
        load.missing_means, load.missing_means
    )
    if len(load.missing) >= count:
        return f"No server has measures; all {count:,} are {assumed}."
    return f"Load of the servers: {source}; {len(load.missing):,} of {count:,} have no measures and are {assumed}."


def _rows(actions: Sequence[ActionReport]) -> Iterator[dict[str, Any]]:
    for step, done in enumerate(actions, 1):
        what = done.action.input_parameters
        migrate = isinstance(what, MigrateInput)
        yield {
            "step": step,
            "done": done,
            "what": what.resource_name,
            "migrate": migrate,
            "kind": f"migrate {what.migration_type}" if isinstance(what, MigrateInput) else f"service {what.state}",
            "source": what.source_node if isinstance(what, MigrateInput) else "",
            "destination": what.destination_node if isinstance(what, MigrateInput) else "",
            "benefit": [(_words(name), value) for name, value in done.action.benefit.items() if value],
            "told": done.text if done.state != "SUCCEEDED" else "",
        }


def _count(amount: float, noun: str) -> str:
    return f"{number(amount)} {noun}{'' if amount == 1 else 's'}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _parameter(value: object) -> str:
    """A parameter as an operator would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_parameter(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_parameter(inner) for inner in value)
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not set"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def number(value: float | None, digits: int = 4) -> str:
    """A figure with as many digits as matter; "-" where there is none."""
    if value is None:
        return "–"
    if abs(value - round(value)) < 1e-9:
        return f"{round(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
