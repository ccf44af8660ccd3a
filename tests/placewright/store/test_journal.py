"""The journal in the database: who may carry a plan out, and what is known of it afterwards."""

from dataclasses import replace
from pathlib import Path

import pytest

from migrate.journal import Entry, JournalError
from placewright.store.database import Database
from placewright.store.journal import journal_of
from tests.migrate.instances import move, plan

PLAN = plan(move("a", "h1", "h2"), move("b", "h1", "h3"))
FIRST, SECOND = (action.uuid for action in PLAN.actions)
DONE = Entry("SUCCEEDED", "completed", {"newest": 7}, 0.5, 3.25)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A new one."""
    return Database(f"sqlite:///{tmp_path}/placewright.db")


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
