"""Carry out a plan: one plain loop that starts what may start, follows what runs, and checks what has ended.

Every action is checked against the live cloud just before it starts. What the cloud has made pointless or illegal
since the plan was made is SKIPPED with the reason, and the rest goes on. docs/execution.md tells it for operators.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from migrate.cloud import CallFailed, Cloud, Handle, NotNow, Outcome, Trace
from migrate.journal import TOOK_S, Entry, Journal, JournalError, State
from migrate.limits import Limits, Traffic
from migrate.plan import Action, MigrateInput, Plan, PlanError, ServiceStateInput, faults_of
from migrate.precheck import Rules, Verdict, judge, not_as_wanted
from migrate.stall import Pulse
from optimizer.cluster import Cluster
from optimizer.errors import PlacewrightError
from optimizer.placement import Placement

CANCEL_GRACE_S = 60.0
OBSERVE_ATTEMPTS = 5
START_ATTEMPTS = 3  # for a migration that the cloud has not begun, for all that can be seen
NOT_NOW_S = 5.0  # until it is asked for again, when the cloud would not take it at the moment
OBSERVE_PATIENCE_S = 300.0  # a restart of Nova's API or of its database is no reason to give a plan up
TIMEOUT_FACTOR = 4.0  # of the expected seconds: migrations share their hosts, and Nova queues them


@dataclass(frozen=True, slots=True)
class Event:
    """News of an action; ``fraction`` (0 to 1) where the cloud tells it, ``at_s`` seconds after the beginning."""

    action: Action
    state: State
    text: str
    fraction: float | None
    at_s: float


@dataclass(frozen=True, slots=True)
class ActionReport:
    """How an action ended; ``started_s`` and ``ended_s`` count from the beginning, None where it did not happen."""

    action: Action
    state: State
    text: str
    started_s: float | None
    ended_s: float | None

    @property
    def seconds(self) -> float | None:
        """How long it ran."""
        return None if self.started_s is None or self.ended_s is None else self.ended_s - self.started_s


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a plan: every action of it, in the plan's order."""

    actions: tuple[ActionReport, ...]
    seconds: float
    interrupted: bool = False

    @property
    def counts(self) -> Mapping[str, int]:
        """Actions by state."""
        return dict(Counter(done.state for done in self.actions))

    @property
    def exit_code(self) -> int:
        """0 when every action succeeded, else 3."""
        return 0 if all(done.state == "SUCCEEDED" for done in self.actions) else 3


Worth = Callable[[Cluster, Placement, str], bool]
"""Whether the move of a server still brings anything: the cluster now, where servers are to be by the moves to come, and the server."""


def execute(plan: Plan, cloud: Cloud, rules: Rules, limits: Limits, report: Callable[[Event], None], journal: Journal,
            worth: Worth | None = None) -> Report:
    """Carry out every action of a plan that still makes sense, and say what became of each.

    Once a migration has failed or was skipped, those after it are looked at for whether they are still worth it (``worth``; None: they are).
    What the journal has of an earlier execution that ended without warning stands: what is over stays so, what was on its way is followed.
    KeyboardInterrupt once: nothing more is started, what runs is awaited, or aborted where it can be and the limits say so. Twice: what
    runs is left as it is. The report is returned in both cases. Raises PlanError, before anything is done, when the plan contradicts itself, and
    JournalError.
    """
    faults = list(faults_of(plan))
    if faults:
        raise PlanError(f"the plan cannot be carried out: {'; '.join(faults)}")
    run = _Run(plan, cloud, rules, limits, report, journal, worth)
    try:
        try:
            run.carry_out()
        except KeyboardInterrupt:
            run.interrupted = True
            run.cancel_pending("interrupted before it started")
            run.carry_out()
    except KeyboardInterrupt:
        run.abandon()
    return run.summary()


@dataclass(slots=True)
class _Step:
    """An action and what has become of it so far."""

    action: Action
    state: State = "PENDING"
    text: str = ""
    note: str = ""  # why it was decided afresh
    handle: Handle | None = None
    started: float | None = None
    ended: float | None = None
    not_before: float = float("-inf")  # the cloud asked to wait so long
    asked: dict[str, str] = field(default_factory=dict)  # why it was not left to itself -> what the cloud said to that
    cancelled: float | None = None  # when the cloud was asked to stop it
    forced: bool = False  # the cloud has agreed to bring it to its end
    pulse: Pulse | None = None
    arrived: Outcome | None = None  # the cloud calls it done; to be verified
    trace: Trace = field(default_factory=dict)
    resumed: bool = False  # an earlier program may have begun it: its times hold the time in which there was none
    attempts: int = 0  # to start it, or to find it again; after the first the cloud may be at it, or done with it

    @property
    def over(self) -> bool:
        return self.state not in ("PENDING", "ONGOING")


def _migrations(steps: Sequence[_Step]) -> Iterator[MigrateInput]:
    return (step.action.input_parameters for step in steps if isinstance(step.action.input_parameters, MigrateInput))


class _Run:
    """The state of one execution."""

    def __init__(self, plan: Plan, cloud: Cloud, rules: Rules, limits: Limits, report: Callable[[Event], None], journal: Journal,
                 worth: Worth | None) -> None:
        self._cloud, self._rules, self._limits, self._report, self._journal, self._worth = cloud, rules, limits, report, journal, worth
        self._began, self._site = cloud.now() - journal.elapsed_s(), plan.cluster.name
        known = journal.entries()
        self._steps = {action.uuid: self._taken_up(action, known.get(action.uuid)) for action in plan.actions}
        self._waiting: set[str] = set()  # judged "wait"; judged again when something has ended
        self._failed_looks: list[float] = []  # when, since the last that succeeded
        self.interrupted = False

    def _taken_up(self, action: Action, entry: Entry | None) -> _Step:
        """An action as the journal has it."""
        if entry is None:
            return _Step(action)
        step = _Step(action, entry.state, entry.text, trace=entry.trace, started=self._moment(entry.started_s), ended=self._moment(entry.ended_s))
        if step.state == "ONGOING":
            self._find_again(step)
        return step

    def _find_again(self, step: _Step) -> None:
        """A migration that was asked for is followed; a service takes no time to switch, so the next look at it tells."""
        step.attempts, step.resumed = step.attempts + 1, True
        if isinstance(step.action.input_parameters, MigrateInput):
            step.state, step.handle = "ONGOING", self._cloud.adopt(step.action, step.trace)
        else:
            step.state = "PENDING"

    # ---- the loop

    def carry_out(self) -> None:
        """Until every action is over."""
        self._settle_starts()
        while True:
            self._turn()
            if all(step.over for step in self._steps.values()):
                return
            self._cloud.pause(self._limits.poll_interval_s)

    def _turn(self) -> None:
        for step in self._ongoing():
            self._follow(step)
        while True:
            arrived = [step for step in self._ongoing() if step.arrived]
            # One look at the cloud does for both; but what has ended is not to suffer when it fails for the sake of others.
            ready = [] if arrived and self._failed_looks else self._ready(arrived)
            if not arrived and not ready:
                return
            cluster = self._look(arrived + ready)
            if cluster is None:
                return
            for step in arrived:
                self._verify(step, cluster)
            for step in ready:
                if not step.over:  # cancelled since, when one before it could not be written down
                    self._begin(step, cluster)

    def _ongoing(self) -> list[_Step]:
        return [step for step in self._steps.values() if step.state == "ONGOING"]

    def _pending(self) -> list[_Step]:
        return [step for step in self._steps.values() if step.state == "PENDING"]

    def _ready(self, arrived: Sequence[_Step]) -> list[_Step]:
        """Those that may start together once some are over, in the plan's order; switching a service is no load and always may."""
        ending = {step.action.uuid for step in arrived}
        traffic = Traffic(self._limits, _migrations([step for step in self._ongoing() if step.action.uuid not in ending]))
        ready = list[_Step]()
        for step in self._pending():
            what = step.action.input_parameters
            if isinstance(what, ServiceStateInput):
                ready += [step] if self._is_due(step, ending) else []
            elif not traffic.full and self._is_due(step, ending) and traffic.admits(what):
                ready.append(step)
        return ready

    def _is_due(self, step: _Step, ending: Collection[str]) -> bool:
        if (step.action.uuid in self._waiting and not ending) or self._cloud.now() < step.not_before:
            return False
        return all(uuid in ending or self._steps[uuid].over for uuid in step.action.parents)

    def _look(self, steps: Sequence[_Step]) -> Cluster | None:
        """The live cluster; None when it cannot be read now. When it stays so, nothing more is started."""
        servers = {step.action.input_parameters.resource_id for step in steps
                   if isinstance(step.action.input_parameters, MigrateInput)}
        try:
            cluster = self._cloud.observe(servers, {host for step in steps for host in step.action.hosts})
        except PlacewrightError as error:
            self._failed_looks.append(self._cloud.now())
            blind_s = self._failed_looks[-1] - self._failed_looks[0]
            if len(self._failed_looks) >= OBSERVE_ATTEMPTS and blind_s >= OBSERVE_PATIENCE_S:
                self.cancel_pending(f"the cloud could not be read {len(self._failed_looks)} times in {blind_s:.0f} s: {error}")
                for step in self._ongoing():
                    if step.arrived:
                        self._end(step, "FAILED", f"{step.arrived.text}, but that could not be verified: {error}")
            else:
                self._tell(steps[0], f"waits until the cloud can be read again: {error}")
            return None
        self._failed_looks.clear()
        return cluster

    # ---- start

    def _begin(self, step: _Step, observed: Cluster) -> None:
        """Check, and start, skip or put off."""
        step.note = self._parents_note(step)
        if step.attempts and not not_as_wanted(step.action, observed):
            self._end(step, "SUCCEEDED", "done, though nobody heard the answer")
            return
        if step.attempts and step.action.input_parameters.resource_id in observed.migration_of:  # it took its time
            self._find_again(step)
            return
        try:
            verdict = judge(step.action, observed, self._rules, [other.action for other in self._ongoing()])
        except PlacewrightError as error:  # from the sources of the rules
            verdict = Verdict("skip", f"the rules could not be read: {error}")
        if verdict.what == "skip":
            self._end(step, "SKIPPED", verdict.text)
        elif verdict.what == "wait":
            self._waiting.add(step.action.uuid)
            self._tell(step, verdict.text)
        elif self._is_in_vain(step, observed):
            self._end(step, "SKIPPED", "nothing is gained by it any more, after what failed or was skipped")
        elif hold := self._cloud.hold(step.action, observed):
            step.not_before = self._cloud.now() + hold.seconds
            self._tell(step, f"waits {hold.seconds:.0f} s: {hold.text}")
        else:
            self._start(step)

    def _is_in_vain(self, step: _Step, observed: Cluster) -> bool:
        """Whether the plan would come to as good an end without a move on which no other move waits."""
        what = step.action.input_parameters
        if self._worth is None or not isinstance(what, MigrateInput):
            return False
        moves = [one for one in self._steps.values() if isinstance(one.action.input_parameters, MigrateInput)]
        open_ones = [one for one in moves if not one.over]
        if not any(one.state in ("FAILED", "SKIPPED") for one in moves) or any(step.action.uuid in one.action.parents for one in open_ones):
            return False
        to_come = {one.resource_id: one.destination_node for one in _migrations(open_ones)}
        return not self._worth(observed, to_come, what.resource_id)

    def _start(self, step: _Step) -> None:
        """Nothing is asked of the cloud that is not in the journal before."""
        step.attempts += 1
        try:
            step.trace = self._cloud.prepare(step.action)
        except CallFailed as error:
            self._put_off(step, error)
            return
        # Marked first: an interruption while the request is under way must not make it look as if never sent.
        step.state, step.started = "ONGOING", self._cloud.now()
        try:
            self._journal.write(step.action.uuid, self._entry(step))
        except JournalError as error:
            step.state, step.started = "PENDING", None
            self.cancel_pending(str(error))
            return
        try:
            step.handle = self._cloud.start(step.action, step.trace)
        except NotNow as error:
            self._put_off(step, error)
        except CallFailed as error:
            self._end(step, "FAILED", str(error))
        else:
            self._tell(step, step.note or "started")

    def _put_off(self, step: _Step, error: CallFailed) -> None:
        step.not_before = self._cloud.now() + max(NOT_NOW_S, error.after_s)
        self._not_begun(step, str(error))

    def _parents_note(self, step: _Step) -> str:
        for uuid in step.action.parents:
            parent = self._steps[uuid]
            if parent.state != "SUCCEEDED":
                return f"decided afresh, because the {parent.action} before it was {parent.state}"
        return ""

    # ---- follow

    def _follow(self, step: _Step) -> None:
        if step.handle is None or step.arrived:
            return
        news = self._cloud.poll(step.handle)
        if isinstance(news, Outcome):
            if news.state == "SUCCEEDED":
                step.arrived = news
                if news.took_s is not None and not step.resumed:
                    step.trace = {**step.trace, TOOK_S: {self._site: news.took_s}}
            elif news.state == "NOT_BEGUN":
                self._not_begun(step, news.text)
            else:
                self._end(step, "FAILED", news.text)
            return
        if news:
            self._tell(step, news.text, news.fraction)
        self._watch(step, news.fraction if news else None)

    def _not_begun(self, step: _Step, text: str) -> None:
        """Ask again, but not without end."""
        if self.interrupted:
            self._end(step, "CANCELLED", text)
        elif step.attempts >= START_ATTEMPTS or step.cancelled is not None:
            self._end(step, "FAILED", text)
        else:
            step.state, step.handle, step.pulse = "PENDING", None, None
            self._tell(step, f"is asked for again: {text}")

    def _watch(self, step: _Step, fraction: float | None) -> None:
        """Do not leave to itself what takes too long, stands still, or is not wanted any more."""
        now, timeout_s = self._cloud.now(), max(self._limits.action_timeout_s, TIMEOUT_FACTOR * step.action.cost.expected_s)
        what = step.action.input_parameters
        live = isinstance(what, MigrateInput) and what.migration_type == "live"
        step.pulse = step.pulse or Pulse(now)
        step.pulse.heard(fraction, now)
        if step.cancelled is not None:
            if now - step.cancelled > CANCEL_GRACE_S:
                self._end(step, "FAILED", "it still runs and is left alone")
        elif step.started is not None and now - step.started > timeout_s:
            self._ask(step, f"took longer than {timeout_s:g} s", self._cloud.cancel)
            step.cancelled = now
        elif live and self.interrupted and self._limits.on_interrupt == "abort":
            self._abort(step, "interrupted")
        elif live and not step.forced and now - step.pulse.grew > self._limits.stall_timeout_s:
            self._stalled(step, f"came no nearer to its end for {self._limits.stall_timeout_s:g} s")

    def _stalled(self, step: _Step, why: str) -> None:
        match self._limits.on_stall:
            case "abort":
                self._abort(step, why)
            case "force_complete":
                step.forced = self._ask(step, why, self._cloud.force_complete)
            case "wait":
                self._ask(step, why, lambda handle: "it is awaited")

    def _abort(self, step: _Step, why: str) -> None:
        """Where the cloud does not (not yet, not any more), the migration goes on; it is asked again at the next look."""
        if self._ask(step, why, self._cloud.cancel):
            step.cancelled = self._cloud.now()

    def _ask(self, step: _Step, why: str, request: Callable[[Handle], str]) -> bool:
        """Whether the cloud agreed; what it said is part of the action's text from now on."""
        assert step.handle is not None
        try:
            said, agreed = request(step.handle), True
        except CallFailed as error:
            said, agreed = str(error), False
        if step.asked.get(why) != said:
            step.asked[why] = said
            self._tell(step, f"{why}; {said}")
        return agreed

    def _verify(self, step: _Step, cluster: Cluster) -> None:
        """Believe the cluster, not the report of success."""
        wrong = not_as_wanted(step.action, cluster)
        text = step.arrived.text if step.arrived else ""
        self._end(step, "FAILED" if wrong else "SUCCEEDED", f"{text}, but {wrong}" if wrong else text)

    # ---- end

    def _end(self, step: _Step, state: State, text: str) -> None:
        asked = (part for why, said in step.asked.items() for part in (why, said))
        step.text = "; ".join(filter(None, (*asked, text, step.note)))
        step.ended = self._cloud.now()
        step.state = state
        self._waiting.clear()
        try:
            self._journal.write(step.action.uuid, self._entry(step))
        except JournalError as error:  # a program that goes on from the journal finds out by itself
            step.text = "; ".join(filter(None, (step.text, str(error))))
        self._tell(step, step.text, 1.0 if state == "SUCCEEDED" else None)

    def cancel_pending(self, text: str) -> None:
        """Nothing more is started."""
        for step in self._pending():
            self._end(step, "CANCELLED", text)

    def _settle_starts(self) -> None:
        """What an interruption met while it was being started is found again, if the cloud has begun it."""
        for step in self._ongoing():
            if step.handle is None:
                self._find_again(step)
                if step.state == "PENDING":
                    self._end(step, "FAILED", "interrupted while it was being switched; the cloud may have done it")

    def abandon(self) -> None:
        """What runs goes on without us."""
        self.interrupted = True
        for step in self._steps.values():
            if step.state == "PENDING":
                step.state, step.text = "CANCELLED", "interrupted before it started"
            elif step.state == "ONGOING":
                step.text = "left running: interrupted twice, its end was not awaited"

    def _tell(self, step: _Step, text: str, fraction: float | None = None) -> None:
        self._report(Event(step.action, step.state, text, fraction, self._cloud.now() - self._began))

    def _entry(self, step: _Step) -> Entry:
        return Entry(step.state, step.text, step.trace, self._since(step.started), self._since(step.ended))

    def _since(self, moment: float | None) -> float | None:
        """Seconds from the beginning to a moment of the cloud's clock."""
        return None if moment is None else moment - self._began

    def _moment(self, since_s: float | None) -> float | None:
        return None if since_s is None else since_s + self._began

    def summary(self) -> Report:
        """Every action, as it stands."""
        actions = tuple(ActionReport(step.action, step.state, step.text, self._since(step.started), self._since(step.ended))
                        for step in self._steps.values())
        return Report(actions, self._cloud.now() - self._began, self.interrupted)

