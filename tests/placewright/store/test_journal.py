"""The journal in the database: who may carry a plan out, and what is known of it afterwards."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import CreateTable

from migrate.journal import Entry, JournalError
from placewright.store.database import TABLES, Database
from placewright.store.journal import execution_of, handling_s, journal_of
from tests.migrate.instances import move, plan

PLAN = plan(move("a", "h1", "h2"), move("b", "h1", "h3"))
FIRST, SECOND = (action.uuid for action in PLAN.actions)
DONE = Entry("SUCCEEDED", "completed", {"newest": 7}, 0.5, 3.25)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A new one."""
    return Database(f"sqlite:///{tmp_path}/placewright.db")


@pytest.mark.parametrize(("beyond", "age_s", "handling"), [
    ([], 0, 0), ([2.0] * 4, 0, 0), ([2.0, 1.0, 4.0, 3.0, 900.0], 0, 3), ([-1.0] * 5, 0, 0), ([2.0] * 5, 7200, 0),
])
def test_what_migrations_have_taken_besides(database: Database, beyond: list[float], age_s: float, handling: float) -> None:
    """Of those that the cloud has told the time of, and that are over; of the last hours."""
    hour = timedelta(hours=1)
    moves = [move(f"s{n}", "h1", "h2") for n in range(len(beyond) + 6)]
    with journal_of(database, plan(*moves), resume=False) as journal:
        for one, seconds in zip(moves, beyond, strict=False):
            journal.write(one.uuid, Entry("SUCCEEDED", "", {"newest": 1, "took_s": {"east": 10.0}}, 5.0, 15.0 + seconds))
        for one in moves[len(beyond):-3]:
            journal.write(one.uuid, Entry("SUCCEEDED", "", {"newest": 1}, 5.0, 77.0))
        for one in moves[-3:]:
            journal.write(one.uuid, Entry("FAILED", "", {"newest": 1, "took_s": {"east": 10.0}}, 5.0, 77.0))
    assert handling_s(database, "west", datetime.now(UTC) - hour) == 0
    assert handling_s(database, "east", datetime.now(UTC) - hour + timedelta(seconds=age_s)) == pytest.approx(handling)


def test_never_begun(database: Database) -> None:
    with pytest.raises(JournalError, match="plan p was never begun, so there is nothing to go on with"), journal_of(database, PLAN, resume=True):
        pass


def test_what_was_written_last_is_read_by_the_next_program(database: Database) -> None:
    with journal_of(database, PLAN, resume=False) as journal:
        assert journal.entries() == {}
        journal.write(FIRST, Entry("ONGOING", "", {"newest": 7}, 0.5))
        journal.write(FIRST, DONE)
        journal.write(SECOND, Entry("ONGOING", "", {"newest": 0}, 0.75))
        before = journal.elapsed_s()
    with journal_of(database, PLAN, resume=True) as journal:
        assert journal.entries() == {FIRST: DONE, SECOND: Entry("ONGOING", "", {"newest": 0}, 0.75)}
        assert journal.elapsed_s() >= before


@pytest.mark.parametrize(("state", "said"), [
    ("ONGOING", "did not end, 1 of 2 actions are open; go on with --resume"),
    (None, "did not end, 1 of 2 actions are open; go on with --resume"),
    ("SKIPPED", r"was carried out at .* \(1 SKIPPED, 1 SUCCEEDED\); run the audit again"),
])
def test_a_plan_is_carried_out_once(database: Database, state: str | None, said: str) -> None:
    with journal_of(database, PLAN, resume=False) as journal:
        journal.write(FIRST, DONE)
        if state is not None:
            journal.write(SECOND, Entry(state, "so"))  # type: ignore[arg-type]
    with pytest.raises(JournalError, match=said), journal_of(database, PLAN, resume=False):
        pass
    with journal_of(database, PLAN, resume=True) as journal:
        assert journal.entries()[FIRST] == DONE


def test_a_plan_that_says_something_else_now(database: Database) -> None:
    with journal_of(database, PLAN, resume=False):
        pass
    with pytest.raises(JournalError, match="it said something else then"), journal_of(database, replace(PLAN, actions=PLAN.actions[:1]), resume=True):
        pass


def test_one_program_at_a_time(database: Database) -> None:
    with journal_of(database, PLAN, resume=False):
        with pytest.raises(JournalError, match="plan p is being carried out by another program"), journal_of(database, PLAN, resume=True):
            pass
        with journal_of(database, replace(PLAN, uuid="q"), resume=False):
            pass


# ---- what follows a plan

NEXT = replace(plan(move("a", "h1", "h4")), uuid="next", message="Follows plan p: ü")
(THIRD,) = (action.uuid for action in NEXT.actions)


def test_what_follows_is_known_before_anything_of_it_is_done(database: Database) -> None:
    with journal_of(database, PLAN, resume=False) as journal:
        assert journal.followed() is None
        journal.write(FIRST, DONE)
        journal.follow(NEXT)
    with journal_of(database, PLAN, resume=True) as journal:
        followed = journal.followed()
        assert followed is not None
        assert followed[0] == NEXT
        assert followed[1].entries() == {}
        assert followed[1].elapsed_s() == pytest.approx(journal.elapsed_s(), abs=1)
        followed[1].write(THIRD, DONE)
        assert journal.entries() == {FIRST: DONE}
    whole, entries = execution_of(database, PLAN)
    assert whole.actions == (*PLAN.actions, *NEXT.actions)
    assert whole.uuid == PLAN.uuid
    assert set(whole.cluster.hosts) == {"h1", "h2", "h3", "h4"}
    assert entries == {FIRST: DONE, THIRD: DONE}


def test_a_plan_is_followed_once(database: Database) -> None:
    with journal_of(database, PLAN, resume=False) as journal:
        journal.follow(NEXT)
        with pytest.raises(JournalError, match="cannot write down what follows a plan"):
            journal.follow(replace(NEXT, uuid="another"))
        followed = journal.followed()
        assert followed is not None
        assert followed[0] == NEXT


def test_a_plan_that_was_never_begun_has_no_execution(database: Database) -> None:
    with pytest.raises(JournalError, match="plan p was never begun, as far as this database knows"):
        execution_of(database, PLAN)


@pytest.mark.parametrize(("dialect", "kind"), [(sqlite.dialect(), "TEXT"), (postgresql.dialect(), "TEXT"), (mysql.dialect(), "LONGTEXT")])
def test_a_long_plan_has_room(dialect: Dialect, kind: str) -> None:
    """In MariaDB a TEXT would end at 64 KiB."""
    assert f"document {kind} NOT NULL" in str(CreateTable(TABLES.tables["follow_ups"]).compile(dialect=dialect))
