"""Plans carried out on the simulator while the cloud changes under them."""

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.cloud import CallFailed, Handle, Hold, NotNow, Outcome, Progress
from migrate.duration import TimeModel
from migrate.executor import CANCEL_GRACE_S, NOT_NOW_S, OBSERVE_ATTEMPTS, OBSERVE_PATIENCE_S, START_ATTEMPTS, TIMEOUT_FACTOR, execute
from migrate.journal import Entry, JournalError, NoJournal
from migrate.limits import Limits
from migrate.plan import Cost, MigrateInput, PlanError
from migrate.simulator import Change, Fault, SimulatedCloud, delete_server, move_server, set_service
from optimizer.cluster import Migration, Obstacle
from optimizer.constraints.base import check
from optimizer.constraints.capacity import Capacity
from optimizer.constraints.movable import Movable
from optimizer.errors import PlacewrightError
from optimizer.movability import obstacles
from optimizer.placement import placement_of
from tests.migrate.instances import cluster, host, move, plan, rules, server, switch

LIMITS = Limits(total=4, per_host=2, poll_interval_s=1.0, action_timeout_s=1000)
# h1 is full, h2 has room for two, h3 for none until z leaves it.
START = cluster(
    [host("h1", 3), host("h2", 3), host("h3", 1)],
    [server("a", "h1"), server("b", "h1"), server("c", "h1"), server("x", "h2"), server("z", "h3")],
)


def run(actions, *, start=START, limits=LIMITS, rule=rules, report=None, **simulator):
    cloud = SimulatedCloud(start, rule, **simulator)
    events = []
    done = execute(plan(*actions), cloud, rule, limits, report or events.append, NoJournal())
    assert [entry.action for entry in done.actions] == list(actions)
    return done, cloud, events


def states(done):
    return {entry.action.uuid: entry.state for entry in done.actions}


def text(done, uuid):
    return next(entry.text for entry in done.actions if entry.action.uuid == uuid)


# ---- what is refused before anything is done


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([move("a", "h1", "h2", "nobody")], "no action has the uuid nobody"),
        ([move("a", "h1", "h2", "2", uuid="1"), move("b", "h1", "h2", "1", uuid="2")], "circle"),
    ],
)
def test_a_plan_that_contradicts_itself(actions, message):
    cloud = SimulatedCloud(START, rules)
    with pytest.raises(PlanError, match=message):
        execute(plan(*actions), cloud, rules, LIMITS, lambda event: None, NoJournal())
    assert cloud.cluster == START


# ---- one action meets a cloud that has changed


def with_server(name, **changes):
    return replace(START, servers=tuple(replace(s, **changes) if s.id == name else s for s in START.servers))


IN_FLIGHT = replace(
    START,
    migrations=(Migration(id="7", server="a", source="h1", destination="h3", kind="live-migration", status="running"),),
)
SKIPPED = {
    "deleted": (delete_server("a")(START), "server a does not exist any more"),
    "moved": (move_server("a", "h3")(START), "a is on h3, not on h1 any more: it was moved since the plan was made"),
    "already there": (move_server("a", "h2")(START), "a is already on h2"),
    "not confirmed": (
        with_server("a", host="h2", status="VERIFY_RESIZE"),
        "a is already on h2, but its migration waits to be confirmed or reverted",
    ),
    "busy": (with_server("a", task_state="rebooting"), "a is busy: rebooting"),
    "in flight": (IN_FLIGHT, "a is in a live-migration from h1 to h3 that this run did not begin"),
    "stopped": (with_server("a", status="SHUTOFF"), "a is SHUTOFF; a live migration needs ACTIVE or PAUSED"),
    "destination gone": (
        replace(START, hosts=(START.hosts[0], START.hosts[2]), servers=START.servers[:3]),
        "host h2 does not exist any more",
    ),
    "destination disabled": (set_service("h2", "disabled", "repair")(START), "host h2 is disabled and up (repair)"),
    "destination down": (
        replace(START, hosts=(START.hosts[0], host("h2", state="down"), START.hosts[2])),
        "host h2 is enabled and down",
    ),
    "full": (
        replace(START, servers=(*START.servers, server("n1", "h2"), server("n2", "h2"))),
        "VCPU on h2: 4 used of 3",
    ),
}


@pytest.mark.parametrize(("changed", "why"), SKIPPED.values(), ids=SKIPPED)
def test_skipped(changed, why):
    done, cloud, _ = run([move("a", "h1", "h2")], start=changed)
    assert states(done) == {"a>h2": "SKIPPED"}
    assert text(done, "a>h2") == why
    assert done.exit_code == 3
    assert cloud.cluster == changed


def test_skipped_by_a_rule_about_locked_servers():
    def movable(seen):
        return (Movable({s.id: obstacles(seen, s) for s in seen.servers}),)

    done, _, _ = run([move("a", "h1", "h2")], start=with_server("a", locked=True), rule=movable)
    assert states(done) == {"a>h2": "SKIPPED"}
    assert "it is locked" in text(done, "a>h2")


def test_skipped_when_the_rules_cannot_be_read():
    def broken(seen):
        raise PlacewrightError("policy service is away")

    done, _, _ = run([move("a", "h1", "h2")], rule=broken)
    assert states(done) == {"a>h2": "SKIPPED"}
    assert text(done, "a>h2") == "the rules could not be read: policy service is away"


@pytest.mark.parametrize(
    ("kind", "status"), [("live", "PAUSED"), ("live", "ACTIVE"), ("cold", "SHUTOFF"), ("cold", "ACTIVE")]
)
def test_succeeds_and_keeps_its_status(kind, status):
    done, cloud, events = run([move("a", "h1", "h2", kind=kind)], start=with_server("a", status=status))
    assert states(done) == {"a>h2": "SUCCEEDED"}
    assert (done.exit_code, done.counts) == (0, {"SUCCEEDED": 1})
    now = cloud.cluster.server_by_id["a"]
    assert (now.host, now.status, now.task_state, cloud.cluster.migrations) == ("h2", status, None, ())
    fractions = [event.fraction for event in events if event.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


# ---- services


def test_service_states():
    done, cloud, _ = run([switch("h2", "disabled"), switch("h1", "enabled"), move("a", "h1", "h2", "h2:disabled")])
    assert states(done) == {"h2:disabled": "SUCCEEDED", "h1:enabled": "SKIPPED", "a>h2": "SKIPPED"}
    assert text(done, "h1:enabled") == "nova-compute on h1 is already enabled"
    assert "h2 is disabled" in text(done, "a>h2")
    assert cloud.cluster.host_by_name["h2"].disabled_reason == "test"


def test_only_if_empty_waits_for_the_last_to_leave():
    done, cloud, _ = run([move("z", "h3", "h2"), switch("h3", "disabled", only_if_empty=True)])
    assert states(done) == {"z>h2": "SUCCEEDED", "h3:disabled": "SUCCEEDED"}
    assert cloud.cluster.host_by_name["h3"].status == "disabled"


def test_only_if_empty_skips_when_somebody_stays():
    done, cloud, _ = run(
        [move("z", "h3", "h2"), switch("h3", "disabled", "z>h2", only_if_empty=True)],
        faults=[Fault(phase="run", server="z")],
    )
    assert states(done) == {"z>h2": "FAILED", "h3:disabled": "SKIPPED"}
    assert text(done, "h3:disabled").startswith("h3 is not empty, it carries z; decided afresh, because")
    assert cloud.cluster.host_by_name["h3"].status == "enabled"


def test_service_of_a_host_that_is_gone():
    done, _, _ = run([switch("h9", "enabled")])
    assert text(done, "h9:enabled") == "host h9 does not exist any more"


# ---- faults, and what becomes of dependants


@pytest.mark.parametrize(
    ("phase", "why"), [("start", "NoValidHost: simulated fault"), ("run", "simulated fault while running")]
)
def test_fault(phase, why):
    done, cloud, _ = run([move("a", "h1", "h2"), move("z", "h3", "h2")], faults=[Fault(phase=phase, server="a")])
    assert states(done) == {"a>h2": "FAILED", "z>h2": "SUCCEEDED"}
    assert text(done, "a>h2") == why
    assert done.exit_code == 3
    assert cloud.cluster.server_by_id["a"] == START.server_by_id["a"]


def test_parent_failed_and_the_child_no_longer_fits():
    done, cloud, _ = run(
        [move("z", "h3", "h2"), move("a", "h1", "h3", "z>h2")], faults=[Fault(phase="run", server="z")]
    )
    assert states(done) == {"z>h2": "FAILED", "a>h3": "SKIPPED"}
    assert text(done, "a>h3") == (
        "VCPU on h3: 2 used of 1; decided afresh, because the live migration of z from h3 to h2 before it was FAILED"
    )
    assert placement_of(cloud.cluster) == placement_of(START)


def test_parent_failed_and_the_child_still_fits():
    done, cloud, _ = run(
        [move("z", "h3", "h2"), move("a", "h1", "h2", "z>h2")], faults=[Fault(phase="start", server="z")]
    )
    assert states(done) == {"z>h2": "FAILED", "a>h2": "SUCCEEDED"}
    assert "decided afresh" in text(done, "a>h2")
    assert cloud.cluster.server_by_id["a"].host == "h2"


def test_a_chain_goes_on_after_skipped_parents():
    done, _, _ = run(
        [move("a", "h1", "h2"), move("b", "h1", "h2", "a>h2"), move("c", "h1", "h2", "b>h2")],
        start=delete_server("b")(delete_server("a")(START)),
    )
    assert states(done) == {"a>h2": "SKIPPED", "b>h2": "SKIPPED", "c>h2": "SUCCEEDED"}


def test_waits_for_room_that_a_running_action_is_about_to_free():
    """Without a parent that says so: z leaves h3 while a wants to go there."""
    done, _, events = run([move("z", "h3", "h2"), move("a", "h1", "h3")])
    assert states(done) == {"z>h2": "SUCCEEDED", "a>h3": "SUCCEEDED"}
    left, came = (entry for entry in done.actions)
    assert came.started_s >= left.ended_s
    assert [e.text for e in events if e.state == "PENDING"] == [
        "waits for an action that still runs: VCPU on h3: 2 used of 1"
    ]


def test_stops_waiting_when_the_room_does_not_come():
    done, _, _ = run([move("z", "h3", "h2"), move("a", "h1", "h3")], faults=[Fault(phase="run", server="z")])
    assert states(done) == {"z>h2": "FAILED", "a>h3": "SKIPPED"}
    assert text(done, "a>h3") == "VCPU on h3: 2 used of 1"


def test_does_not_wait_for_room_when_another_rule_forbids_the_move_anyway():
    def strict(seen):
        return Capacity(), Movable({"a": (Obstacle(kind="pci", text="it has a device"),)})

    done, _, _ = run([move("z", "h3", "h2"), move("a", "h1", "h3")], rule=strict)
    assert states(done) == {"z>h2": "SUCCEEDED", "a>h3": "SKIPPED"}
    assert done.actions[1].ended_s == 0.0


def test_room_taken_meanwhile():
    newcomers = Change(1.0, lambda seen: replace(seen, servers=(*seen.servers, server("n", "h2", 2))))
    done, _, _ = run([move("z", "h3", "h2"), move("a", "h1", "h2", "z>h2")], changes=[newcomers])
    assert states(done) == {"z>h2": "SUCCEEDED", "a>h2": "SKIPPED"}


@pytest.mark.parametrize(
    ("change", "state", "why"),
    [
        (delete_server("a"), "FAILED", "a was deleted while it was migrated"),
        (set_service("h2", "disabled"), "SUCCEEDED", "completed"),
    ],
)
def test_changes_while_running(change, state, why):
    done, _, _ = run([move("a", "h1", "h2")], changes=[Change(2.0, change)])
    assert (states(done)["a>h2"], text(done, "a>h2")) == (state, why)


class Liar(SimulatedCloud):
    """Reports success and has the server somewhere else."""

    def observe(self, servers, hosts):
        if self.cluster.server_by_id["a"].host == "h2":
            return move_server("a", "h3")(self.cluster)
        return self.cluster


def test_success_is_verified():
    done = execute(plan(move("a", "h1", "h2")), Liar(START, rules), rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "FAILED"}
    assert text(done, "a>h2") == "completed, but a is on h3"


class Counted(SimulatedCloud):
    """Remembers when it was looked at, and for which servers."""

    def observe(self, servers, hosts):
        self.looks = [*getattr(self, "looks", []), (self.now(), set(servers))]
        return super().observe(servers, hosts)


def test_one_look_verifies_what_has_ended_and_starts_what_has_waited_for_it():
    """A look takes Nova a good deal of work. One waits for its parent, the other for room under the limits."""
    cloud = Counted(replace(START, hosts=tuple(host(name, 9) for name in ("h1", "h2", "h3"))), rules)
    done = execute(plan(move("a", "h1", "h2"), move("b", "h1", "h3", "a>h2"), move("c", "h1", "h3")), cloud, rules, replace(LIMITS, total=1),
                   lambda event: None, NoJournal())
    assert set(states(done).values()) == {"SUCCEEDED"}
    assert [servers for _, servers in cloud.looks] == [{"a"}, {"a", "b"}, {"b", "c"}, {"c"}]
    assert len({moment for moment, _ in cloud.looks}) == 4


# ---- a cloud that does not answer


class Blind(SimulatedCloud):
    """Cannot be observed from the given look on, for a number of times."""

    def __init__(self, start, looks, times):
        super().__init__(start, rules)
        self.looks, self.fails = looks, times

    def observe(self, servers, hosts):
        self.looks -= 1
        if self.looks < 0 and self.fails > 0:
            self.fails -= 1
            raise CallFailed("no answer")
        return super().observe(servers, hosts)


LOOKS = int(OBSERVE_PATIENCE_S / LIMITS.poll_interval_s) + 1


def test_seldom_looks_are_not_given_up_early():
    cloud = Blind(START, 0, OBSERVE_ATTEMPTS - 1)
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, replace(LIMITS, poll_interval_s=OBSERVE_PATIENCE_S), lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "SUCCEEDED"}


@pytest.mark.parametrize(
    ("looks", "times", "expected"),
    [
        (0, LOOKS - 1, {"a>h2": "SUCCEEDED", "b>h2": "SUCCEEDED"}),
        (0, LOOKS, {"a>h2": "CANCELLED", "b>h2": "CANCELLED"}),
        (1, LOOKS - 1, {"a>h2": "SUCCEEDED", "b>h2": "SUCCEEDED"}),
        (1, LOOKS, {"a>h2": "FAILED", "b>h2": "CANCELLED"}),
    ],
)
def test_unreadable_cloud(looks, times, expected):
    cloud = Blind(START, looks, times)
    done = execute(plan(move("a", "h1", "h2"), move("b", "h1", "h2", "a>h2")), cloud, rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == expected
    if "FAILED" in expected.values():
        assert text(done, "a>h2") == "completed, but that could not be verified: no answer"
        assert "could not be read 301 times in 300 s: no answer" in text(done, "b>h2")


class Refusing(SimulatedCloud):
    def start(self, action, trace):
        raise CallFailed("HTTP 403: no")


def test_refused_request():
    done = execute(plan(move("a", "h1", "h2")), Refusing(START, rules), rules, LIMITS, lambda event: None, NoJournal())
    assert (states(done), text(done, "a>h2")) == ({"a>h2": "FAILED"}, "HTTP 403: no")


# ---- a cloud whose own books lag behind


class Late(SimulatedCloud):
    """Does not show a migration before it has ended, as Nova's record appears only after its answer."""

    def observe(self, servers, hosts):
        seen = replace(self.cluster, migrations=())
        return seen.with_servers(tuple(replace(s, status="ACTIVE", task_state=None) for s in seen.servers))


def test_actions_under_way_count_before_the_cloud_shows_them():
    cloud = Late(START, rules)
    actions = [move(name, "h1", "h2") for name in "abc"]  # h2 has room for two
    done = execute(plan(*actions), cloud, rules, replace(LIMITS, per_host=3), lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "SUCCEEDED", "b>h2": "SUCCEEDED", "c>h2": "SKIPPED"}
    assert text(done, "c>h2") == "VCPU on h2: 4 used of 3"


def test_an_action_on_hold_starts_later():
    class Holding(SimulatedCloud):
        def hold(self, action, seen):
            return Hold(40.0 - self.now(), "the scheduler lags") if self.now() < 40 and action == moves[0] else None

    moves = [move("a", "h1", "h2"), move("b", "h1", "h2"), move("c", "h1", "h2", "a>h2")]
    events = []
    start = replace(START, hosts=(START.hosts[0], host("h2", 4), START.hosts[2]))
    done = execute(plan(*moves), Holding(start, rules), rules, LIMITS, events.append, NoJournal())
    assert done.counts == {"SUCCEEDED": 3}
    held, other, dependant = done.actions
    assert other.started_s == 0.0
    assert 40 <= held.started_s <= 41
    assert dependant.started_s >= held.ended_s
    assert [event.text for event in events if event.state == "PENDING"] == ["waits 40 s: the scheduler lags"]


# ---- time


def test_timeout_aborts_a_live_migration():
    done, cloud, _ = run(
        [move("a", "h1", "h2"), move("b", "h1", "h2", "a>h2")], limits=replace(LIMITS, action_timeout_s=3)
    )
    assert text(done, "a>h2") == "took longer than 3 s; it was aborted; cancelled"
    assert states(done) == {"a>h2": "FAILED", "b>h2": "FAILED"}
    assert placement_of(cloud.cluster) == placement_of(START)


def test_what_is_expected_to_take_long_may():
    action = replace(move("a", "h1", "h2"), cost=Cost(expected_s=20.0))
    done, _, _ = run([action], limits=replace(LIMITS, action_timeout_s=3))
    assert states(done) == {"a>h2": "SUCCEEDED"}
    cloud = Stuck(START, rules)
    done = execute(plan(action), cloud, rules, replace(LIMITS, action_timeout_s=3), lambda event: None, NoJournal())
    assert text(done, "a>h2").startswith(f"took longer than {20 * TIMEOUT_FACTOR:g} s")


def test_two_actions_of_one_server_without_an_order_do_not_meet():
    there, back = move("a", "h1", "h2"), move("a", "h2", "h1")
    done, cloud, _ = run([there, back], limits=replace(LIMITS, per_host=4))
    assert states(done) == {"a>h2": "SUCCEEDED", "a>h1": "SUCCEEDED"}
    assert cloud.cluster.server_by_id["a"].host == "h1"


class Stuck(SimulatedCloud):
    """Migrations never end, whatever is done."""

    def poll(self, handle):
        return Progress(None, "running")


def test_timeout_that_does_not_help():
    cloud = Stuck(START, rules)
    done = execute(
        plan(move("a", "h1", "h2", kind="cold")), cloud, rules, replace(LIMITS, action_timeout_s=3), lambda e: None, NoJournal()
    )
    assert text(done, "a>h2") == "took longer than 3 s; it cannot be aborted; it still runs and is left alone"
    assert done.actions[0].seconds == pytest.approx(3 + CANCEL_GRACE_S, abs=3)


# ---- stalled


STALLS = replace(LIMITS, stall_timeout_s=20, action_timeout_s=100)


@pytest.mark.parametrize(
    ("on_stall", "ended", "told"),
    [
        ("abort", "FAILED", "came no nearer to its end for 20 s; it was aborted; cancelled"),
        ("force_complete", "SUCCEEDED", "came no nearer to its end for 20 s; it was forced to complete; completed"),
        ("wait", "FAILED", "came no nearer to its end for 20 s; it is awaited; took longer than 100 s; it was aborted; cancelled"),
    ],
)
def test_stalled(on_stall, ended, told):
    """Those that are queued behind it are not."""
    start = replace(START, hosts=(START.hosts[0], host("h2", 4), START.hosts[2]))
    done, cloud, events = run([move("a", "h1", "h2"), move("b", "h1", "h2", uuid="b")], start=start,
                              limits=replace(STALLS, on_stall=on_stall), faults=[Fault(phase="stall", server="a")])
    assert states(done)["a>h2"] == ended
    assert text(done, "a>h2") == told
    assert [event.text for event in events].count("; ".join(told.split("; ")[:2])) == 1
    assert cloud.cluster.server_by_id["a"].host == ("h2" if ended == "SUCCEEDED" else "h1")
    assert "nearer" not in text(done, "b")
    assert on_stall == "wait" or states(done)["b"] == "SUCCEEDED"


def test_what_goes_on_slowly_is_not_stalled():
    slow = TimeModel(bandwidth_mb_per_s=15)  # more than a minute for 1 GiB
    done, _, _ = run([move("a", "h1", "h2"), move("b", "h1", "h2")], limits=replace(LIMITS, stall_timeout_s=10), model=slow)
    assert done.counts == {"SUCCEEDED": 2}
    assert min(one.seconds for one in done.actions) > 60


def test_a_cold_migration_is_left_to_itself():
    done, _, _ = run([move("a", "h1", "h2", kind="cold")], limits=STALLS, faults=[Fault(phase="stall", server="a")])
    assert text(done, "a>h2") == "took longer than 100 s; it cannot be aborted; it still runs and is left alone"


class Deaf(SimulatedCloud):
    """Does as it is asked only from the third time on."""

    asked = 0

    def cancel(self, handle):
        self.asked += 1
        if self.asked < 3:
            raise CallFailed(f"HTTP 503: busy {self.asked}")
        return super().cancel(handle)

    def force_complete(self, handle):
        self.asked += 1
        if self.asked < 3:
            raise CallFailed(f"HTTP 503: busy {self.asked}")
        return super().force_complete(handle)


@pytest.mark.parametrize(("on_stall", "said"), [("abort", "it was aborted; cancelled"), ("force_complete", "it was forced to complete; completed")])
def test_asked_again_until_the_cloud_does_it(on_stall, said):
    cloud = Deaf(START, rules, faults=[Fault(phase="stall")])
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, replace(STALLS, on_stall=on_stall), lambda event: None, NoJournal())
    assert (text(done, "a>h2"), cloud.asked) == (f"came no nearer to its end for 20 s; {said}", 3)


def test_forced_once_and_then_given_up_at_the_timeout():
    class Vain(SimulatedCloud):
        asked = 0

        def force_complete(self, handle):
            self.asked += 1
            return "it was forced to complete"

    cloud = Vain(START, rules, faults=[Fault(phase="stall")])
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, replace(STALLS, on_stall="force_complete"), lambda event: None, NoJournal())
    assert cloud.asked == 1
    assert text(done, "a>h2") == ("came no nearer to its end for 20 s; it was forced to complete; took longer than 100 s; it was aborted; cancelled")


def test_an_attempt_that_came_to_nothing_is_not_held_against_the_next():
    class Lost(SimulatedCloud):
        lost = True

        def start(self, action, trace):
            return Handle(action.uuid) if self.lost else super().start(action, trace)

        def poll(self, handle):
            if not self.lost:
                return super().poll(handle)
            self.lost = self.now() < 3
            return Progress(0.5, "running") if self.lost else Outcome("NOT_BEGUN", "lost on the way")

    cloud = Lost(START, rules, model=TimeModel(bandwidth_mb_per_s=50))
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, replace(STALLS, stall_timeout_s=10), lambda event: None, NoJournal())
    assert text(done, "a>h2") == "completed"
    assert done.actions[0].seconds > 10


# ---- interruption


def interrupting(*moments, kind=SimulatedCloud):
    """A simulated cloud where somebody presses Ctrl-C at these virtual times."""

    class Interrupted(kind):
        presses = sorted(moments)

        def pause(self, seconds):
            super().pause(seconds)
            if self.presses and self.now() >= self.presses[0]:
                self.presses.pop(0)
                raise KeyboardInterrupt

    return Interrupted(START, rules)


CHAIN = [move("a", "h1", "h2"), move("z", "h3", "h2"), move("b", "h1", "h3", "z>h2")]


def test_interrupted_once_awaits_what_runs():
    done = execute(plan(*CHAIN), interrupting(2.0), rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "SUCCEEDED", "z>h2": "SUCCEEDED", "b>h3": "CANCELLED"}
    assert text(done, "b>h3") == "interrupted before it started"
    assert (done.interrupted, done.exit_code) == (True, 3)


def test_interrupted_once_aborts_what_runs_by_choice():
    """Not what is cold, for it cannot be."""
    actions = [move("a", "h1", "h2"), move("z", "h3", "h2", kind="cold"), move("b", "h1", "h3", "z>h2")]
    cloud = interrupting(2.0, kind=Deaf)
    done = execute(plan(*actions), cloud, rules, replace(LIMITS, on_interrupt="abort"), lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "FAILED", "z>h2": "SUCCEEDED", "b>h3": "CANCELLED"}
    assert (text(done, "a>h2"), cloud.asked) == ("interrupted; it was aborted; cancelled", 3)
    assert cloud.cluster.server_by_id["a"].host == "h1"
    assert (done.interrupted, done.exit_code) == (True, 3)


def test_what_cannot_be_aborted_at_the_interruption_is_awaited():
    class Unheard(SimulatedCloud):
        def cancel(self, handle):
            raise CallFailed("HTTP 403: not yours")

    cloud = interrupting(2.0, kind=Unheard)
    done = execute(plan(*CHAIN), cloud, rules, replace(LIMITS, on_interrupt="abort"), lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "SUCCEEDED", "z>h2": "SUCCEEDED", "b>h3": "CANCELLED"}
    assert text(done, "a>h2") == "interrupted; HTTP 403: not yours; completed"


def test_interrupted_twice_leaves_at_once():
    cloud = interrupting(2.0, 3.0)
    done = execute(plan(*CHAIN), cloud, rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "ONGOING", "z>h2": "ONGOING", "b>h3": "CANCELLED"}
    assert text(done, "a>h2") == "left running: interrupted twice, its end was not awaited"
    assert (done.interrupted, done.exit_code, cloud.now()) == (True, 3, 3.0)


def test_interrupted_while_a_request_is_under_way():
    class Interrupted(SimulatedCloud):
        def start(self, action, trace):
            super().start(action, trace)
            raise KeyboardInterrupt

    done = execute(plan(*CHAIN), Interrupted(START, rules), rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "SUCCEEDED", "z>h2": "CANCELLED", "b>h3": "CANCELLED"}


def test_interrupted_before_a_request_was_under_way():
    class Interrupted(SimulatedCloud):
        def start(self, action, trace):
            raise KeyboardInterrupt

    done = execute(plan(*CHAIN), Interrupted(START, rules), rules, LIMITS, lambda event: None, NoJournal())
    assert set(states(done).values()) == {"CANCELLED"}
    assert text(done, "a>h2") == "nobody has asked for it"


def test_a_service_interrupted_while_it_is_switched():
    class Interrupted(SimulatedCloud):
        def start(self, action, trace):
            raise KeyboardInterrupt

    done = execute(plan(switch("h1", "disabled")), Interrupted(START, rules), rules, LIMITS, lambda event: None, NoJournal())
    assert [one.state for one in done.actions] == ["FAILED"]
    assert "the cloud may have done it" in done.actions[0].text


# ---- requests that come to nothing


class Reluctant(SimulatedCloud):
    """Does not take a request the first ``times``."""

    times = 0
    refusal = NotNow("HTTP 409: not now")

    def start(self, action, trace):
        if self.times:
            self.times -= 1
            if self.refusal:
                raise self.refusal
            self._outcomes[Handle(action.uuid)] = Outcome("NOT_BEGUN", "lost on the way")
            return Handle(action.uuid)
        return super().start(action, trace)


@pytest.mark.parametrize("refusal", [Reluctant.refusal, None])
@pytest.mark.parametrize(("times", "state"), [(START_ATTEMPTS - 1, "SUCCEEDED"), (START_ATTEMPTS, "FAILED")])
def test_asked_for_again_but_not_without_end(refusal, times, state):
    cloud = Reluctant(START, rules)
    cloud.times, cloud.refusal, events = times, refusal, []
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, LIMITS, events.append, NoJournal())
    assert states(done) == {"a>h2": state}
    told = [event.text for event in events if event.text.startswith("is asked for again: ")]
    assert len(told) == min(times, START_ATTEMPTS - 1)
    assert state == "SUCCEEDED" or text(done, "a>h2") in ("HTTP 409: not now", "lost on the way")


@pytest.mark.parametrize(("asked_s", "waited_s"), [(0, NOT_NOW_S), (1, NOT_NOW_S), (42, 42)])
def test_asked_for_again_when_the_cloud_says(asked_s, waited_s):
    cloud = Reluctant(START, rules)
    cloud.times, cloud.refusal = 1, NotNow("HTTP 429: too many", asked_s)
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, LIMITS, lambda event: None, NoJournal())
    assert done.actions[0].started_s == pytest.approx(waited_s, abs=LIMITS.poll_interval_s)


@pytest.mark.parametrize(("times", "state"), [(START_ATTEMPTS - 1, "SUCCEEDED"), (START_ATTEMPTS, "FAILED")])
def test_records_that_cannot_be_read_before_a_start(times, state):
    """Nothing is asked for without them."""
    class Forgetful(SimulatedCloud):
        left = times

        def prepare(self, action):
            self.left -= 1
            if self.left >= 0:
                raise CallFailed("HTTP 503: no records")
            return super().prepare(action)

    cloud = Forgetful(START, rules)
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == {"a>h2": state}
    assert (cloud.cluster == START) == (state == "FAILED")
    assert state == "SUCCEEDED" or text(done, "a>h2") == "HTTP 503: no records"


def test_not_now_is_judged_afresh():
    """What Nova was in the middle of is seen at the next look."""
    cloud = Reluctant(START, rules, changes=[Change(2.0, lambda seen: replace(seen, servers=tuple(
        replace(one, task_state="rebooting") if one.id == "a" else one for one in seen.servers)))])
    cloud.times = 1
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "SKIPPED"}
    assert text(done, "a>h2") == "a is busy: rebooting"


def test_a_migration_that_took_its_time_to_appear_is_not_begun_twice():
    """Its request was given up as lost, and then Nova has it after all."""
    class Slow(SimulatedCloud):
        begun = 0

        def start(self, action, trace):
            handle = super().start(action, trace)
            self.begun += 1
            return handle

        def poll(self, handle):
            return Outcome("NOT_BEGUN", "nothing to be seen") if self.now() < 2 else super().poll(handle)

    cloud = Slow(START, rules)
    done = execute(plan(move("a", "h1", "h2")), cloud, rules, replace(LIMITS, poll_interval_s=2.5), lambda event: None, NoJournal())
    assert (states(done), cloud.begun) == ({"a>h2": "SUCCEEDED"}, 1)


def test_nothing_is_asked_that_is_not_in_the_journal():
    class Full(NoJournal):
        def write(self, action, entry):
            raise JournalError("database is full")

    cloud = SimulatedCloud(START, rules)
    done = execute(plan(*CHAIN), cloud, rules, LIMITS, lambda event: None, Full())
    assert set(states(done).values()) == {"CANCELLED"}
    assert all("database is full" in entry.text for entry in done.actions)
    assert cloud.cluster == START


class Clocked(SimulatedCloud):
    """Tells how long it was at a migration, as Nova does."""

    def poll(self, handle):
        news = super().poll(handle)
        return replace(news, took_s=7.0) if isinstance(news, Outcome) else news


def test_how_long_the_cloud_itself_was_at_it_is_in_the_journal():
    cloud = Clocked(START, rules)
    journal = Remembering(cloud)
    execute(plan(move("a", "h1", "h2")), cloud, rules, LIMITS, lambda event: None, journal)
    assert journal.known["a>h2"].trace == {**cloud.prepare(move("a", "h1", "h2")), "took_s": {plan().cluster.name: 7.0}}


def test_the_time_in_which_no_program_ran_is_nobody_s():
    cloud = Clocked(START, rules)
    journal = Remembering(cloud)
    journal.known["a>h2"] = Entry("ONGOING", "", cloud.prepare(move("a", "h1", "h2")), 0.0)
    cloud.start(move("a", "h1", "h2"), {})
    execute(plan(move("a", "h1", "h2")), cloud, rules, LIMITS, lambda event: None, journal)
    assert journal.known["a>h2"].state == "SUCCEEDED"
    assert "took_s" not in journal.known["a>h2"].trace


def test_nothing_more_is_begun_when_one_cannot_be_written_down():
    """Though the others may start at the same moment, and could be written down."""
    class Once(NoJournal):
        def __init__(self):
            super().__init__()
            self.asked = 0

        def write(self, action, entry):
            self.asked += 1
            if self.asked == 1:
                raise JournalError("database is locked")

    roomy = replace(START, hosts=tuple(host(name, 9) for name in ("h1", "h2", "h3")))
    cloud = SimulatedCloud(roomy, rules)
    done = execute(plan(*(move(name, "h1", "h3") for name in "abc")), cloud, rules, Limits(total=9, per_host=9), lambda event: None, Once())
    assert set(states(done).values()) == {"CANCELLED"}
    assert cloud.cluster == roomy


def test_what_has_ended_is_verified_though_what_waits_for_it_cannot_be_read():
    class Half(SimulatedCloud):
        def observe(self, servers, hosts):
            if "b" in servers:
                raise CallFailed("no answer")
            return super().observe(servers, hosts)

    done = execute(plan(move("a", "h1", "h2"), move("b", "h1", "h2", "a>h2")), Half(START, rules), rules, LIMITS, lambda event: None, NoJournal())
    assert states(done) == {"a>h2": "SUCCEEDED", "b>h2": "CANCELLED"}


# ---- what is still worth it


@pytest.mark.parametrize(("fault", "expected"), [
    (None, {"a>h2": "SUCCEEDED", "b>h2": "SUCCEEDED"}),  # nobody asks as long as all goes well
    ("a", {"a>h2": "FAILED", "b>h2": "SKIPPED"}),
])
def test_what_is_in_vain_after_a_failure_is_left(fault, expected):
    asked = []

    def worth(cluster, to_come, server):
        asked.append((cluster.server_by_id[server].host, to_come, server))
        return False

    cloud = SimulatedCloud(START, rules, faults=[Fault(phase="run", server=fault)] if fault else [])
    actions = [move("a", "h1", "h2"), move("b", "h1", "h2")]
    done = execute(plan(*actions), cloud, rules, Limits(total=1), lambda event: None, NoJournal(), worth)
    assert states(done) == expected
    assert asked == ([("h1", {"b": "h2"}, "b")] if fault else [])
    assert not fault or text(done, "b>h2") == "nothing is gained by it any more, after what failed or was skipped"


def test_what_others_wait_for_is_never_in_vain():
    cloud = SimulatedCloud(START, rules, faults=[Fault(phase="run", server="a")])
    actions = [move("a", "h1", "h2"), move("b", "h1", "h2"), move("x", "h2", "h1", "b>h2"), switch("h1", "disabled", "x>h1")]
    done = execute(plan(*actions), cloud, rules, Limits(total=1), lambda event: None, NoJournal(), lambda cluster, to_come, server: server == "x")
    assert states(done) == {"a>h2": "FAILED", "b>h2": "SUCCEEDED", "x>h1": "SUCCEEDED", "h1:disabled": "SUCCEEDED"}


# ---- the program ends without warning, and another one goes on


class Killed(BaseException):
    """Nothing handles it, as nothing handles SIGKILL."""


@dataclass
class Remembering:
    """A journal that outlives the program."""

    cloud: SimulatedCloud
    known: dict[str, Entry] = field(default_factory=dict)

    def entries(self):
        return dict(self.known)

    def write(self, action, entry):
        self.known[action] = entry

    def elapsed_s(self):
        return self.cloud.now()


@dataclass
class Fate:
    """How many moments a program has left; one passes before and one after the effect of each call."""

    left: int = 10**9

    def passes(self):
        if not self.left:
            raise Killed
        self.left -= 1


@dataclass
class Mortal:
    """Passes calls on to a cloud or a journal."""

    inner: object
    fate: Fate
    begun: list[str] = field(default_factory=list)  # uuids of the migrations that the cloud took on

    def __getattr__(self, name):
        call = getattr(self.inner, name)
        if name in ("now", "elapsed_s"):
            return call

        def passed_on(*arguments):
            self.fate.passes()
            flying = len(self.inner.cluster.migrations) if name == "start" else 0
            result = call(*arguments)
            if name == "start" and len(self.inner.cluster.migrations) > flying:
                self.begun.append(arguments[0].uuid)
            self.fate.passes()
            return result

        return passed_on


def carried_out(start, actions, limits, deaths, **simulator):
    """The last report, the cloud, the journal, and the moments that the last program took; before it one died at each of some moments."""
    cloud = SimulatedCloud(start, rules, **simulator)
    journal, begun = Remembering(cloud), []
    for fate in [*map(Fate, deaths), Fate()]:
        try:
            done = execute(plan(*actions), Mortal(cloud, fate, begun), rules, limits, lambda event: None, Mortal(journal, fate))
        except Killed:
            continue
        break
    for entry in done.actions:
        assert entry.state in ("SUCCEEDED", "FAILED", "SKIPPED")
        assert (journal.known[entry.action.uuid].state, journal.known[entry.action.uuid].text) == (entry.state, entry.text)
    assert max(Counter(begun).values(), default=0) <= 1
    assert not cloud.cluster.migrations
    return done, cloud, 10**9 - fate.left


DRAIN = [switch("h1", "disabled"), move("a", "h1", "h2", "h1:disabled"), move("z", "h3", "h2", "h1:disabled"), move("b", "h1", "h3", "z>h2"),
         switch("h3", "disabled", "b>h3"), switch("h1", "enabled", "a>h2", "b>h3")]


def test_died_once_at_any_moment():
    """At every moment in turn: all ends as if it had never died."""
    undisturbed, cloud, moments = carried_out(START, DRAIN, LIMITS, [])
    assert set(states(undisturbed).values()) == {"SUCCEEDED"}
    for moment in range(moments):
        done, now, _ = carried_out(START, DRAIN, LIMITS, [moment])
        assert states(done) == states(undisturbed)
        assert now.cluster == cloud.cluster


@settings(max_examples=500, deadline=None)
@given(st.deferred(lambda: scenarios()), st.lists(st.integers(0, 24), min_size=3, max_size=12))
def test_died_at_many_moments(scenario, deaths):
    """Faults, and what others do, go on meanwhile: each server is where the plan wants it, or there is a reason why it is not."""
    start, actions, faults, changes, limits, seed = scenario
    done, cloud, _ = carried_out(start, actions, limits, deaths, faults=faults, changes=changes, seed=seed)
    last = {}
    for entry in done.actions:
        what = entry.action.input_parameters
        if isinstance(what, MigrateInput) and entry.state == "SUCCEEDED":
            last[what.resource_id] = what.destination_node
        else:
            assert entry.text
    for name, there in cloud.cluster.server_by_id.items():
        assert there.host == last.get(name, start.server_by_id[name].host)


# ---- random plans: nothing is ever exceeded, everything is reported


@dataclass
class Watched:
    """A simulator that checks the limits and the capacity whenever something starts or time passes."""

    cloud: SimulatedCloud
    limits: Limits
    running: dict[Handle, MigrateInput] = field(default_factory=dict)

    def observe(self, servers, hosts):
        return self.cloud.observe(servers, hosts)

    def hold(self, action, cluster):
        return self.cloud.hold(action, cluster)

    def prepare(self, action):
        return self.cloud.prepare(action)

    def adopt(self, action, trace):
        return self.cloud.adopt(action, trace)

    def start(self, action, trace):
        handle = self.cloud.start(action, trace)
        if isinstance(action.input_parameters, MigrateInput):
            self.running[handle] = action.input_parameters
        self.check()
        return handle

    def poll(self, handle):
        news = self.cloud.poll(handle)
        if news and not isinstance(news, Progress):
            self.running.pop(handle, None)
        return news

    def cancel(self, handle):
        return self.cloud.cancel(handle)

    def force_complete(self, handle):
        return self.cloud.force_complete(handle)

    def now(self):
        return self.cloud.now()

    def pause(self, seconds):
        self.cloud.pause(seconds)
        self.check()

    def check(self):
        busy = Counter(name for what in self.running.values() for name in (what.source_node, what.destination_node))
        assert len(self.running) <= self.limits.total
        assert max(busy.values(), default=0) <= self.limits.per_host
        seen = self.cloud.cluster
        assert not check([Capacity()], seen, placement_of(seen))


@st.composite
def scenarios(draw):
    """A legal cluster, any moves of its servers with any order among them, faults and outside changes."""
    names = [f"h{n}" for n in range(draw(st.integers(2, 5)))]
    rooms = dict.fromkeys(names, 4)
    servers = []
    for number in range(draw(st.integers(1, 10))):
        size = draw(st.integers(1, 2))
        fitting = [name for name in names if rooms[name] >= size]
        if fitting:
            on = draw(st.sampled_from(fitting))
            rooms[on] -= size
            servers.append(server(f"s{number}", on, size))
    actions = []
    for one in draw(st.permutations(servers)):
        target = draw(st.sampled_from(names))
        if target != one.host:
            before = [action.uuid for action in actions]
            parents = draw(st.sets(st.sampled_from(before), max_size=2)) if before else ()
            actions.append(move(one.id, one.host, target, *sorted(parents)))
    actions.append(switch(names[0], "disabled", only_if_empty=draw(st.booleans())))
    faults = [
        Fault(phase=draw(st.sampled_from(["start", "run", "stall"])), server=one.id)
        for one in servers
        if draw(st.integers(0, 4)) == 0
    ]
    changes = [
        Change(float(draw(st.integers(0, 30))), change)
        for change in (delete_server(servers[0].id), set_service(names[-1], "disabled"))
        if draw(st.booleans())
    ]
    limits = Limits(total=draw(st.integers(1, 4)), per_host=draw(st.integers(1, 3)), poll_interval_s=1.0, stall_timeout_s=20.0,
                    on_stall=draw(st.sampled_from(["abort", "force_complete"])))
    return cluster([host(name) for name in names], servers), actions, faults, changes, limits, draw(st.integers(0, 3))


@settings(max_examples=200, deadline=None)
@given(scenarios())
def test_nothing_is_ever_exceeded(scenario):
    start, actions, faults, changes, limits, seed = scenario
    simulator = SimulatedCloud(start, rules, faults=faults, changes=changes, seed=seed)
    events = []
    done = execute(plan(*actions), Watched(simulator, limits), rules, limits, events.append, NoJournal())
    assert [entry.action for entry in done.actions] == actions
    for entry in done.actions:
        assert entry.state in ("SUCCEEDED", "FAILED", "SKIPPED")
        assert entry.ended_s is not None
        assert entry.text
        assert (entry.started_s is None) == (entry.state == "SKIPPED")
        # Nova never had to say no: what did not fit was seen before it was asked for.
        assert not entry.text.startswith("NoValidHost: VCPU")
        assert [e.state for e in events if e.action == entry.action][-1] == entry.state
    for entry in done.actions:
        parents = [parent for parent in done.actions if parent.action.uuid in entry.action.parents]
        assert all(
            parent.ended_s <= (entry.ended_s if entry.started_s is None else entry.started_s) for parent in parents
        )
        what, seen = entry.action.input_parameters, simulator.cluster.server_by_id
        if entry.state == "SUCCEEDED" and isinstance(what, MigrateInput) and what.resource_id in seen:
            assert seen[what.resource_id].host == what.destination_node
    assert done.exit_code == (0 if set(states(done).values()) == {"SUCCEEDED"} else 3)
    assert not simulator.cluster.migrations
