"""The journal on database servers: the same as on SQLite."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from migrate.journal import Entry, JournalError
from placewright.store.database import TABLES, Database, Locked
from placewright.store.journal import execution_of, journal_of
from tests.cloud.conftest import Cloud
from tests.cloud.databases import mariadb, postgresql
from tests.migrate.instances import move, plan
from tests.placewright.store.test_database import HOLD, together

PLAN = plan(move("a", "h1", "h2"), move("b", "h1", "h3"))
DONE = Entry("SUCCEEDED", "fertig: \N{GREEK SMALL LETTER ALPHA}", {"newest": 7}, 0.5, 3.25)


@pytest.fixture(scope="module", params=[postgresql, mariadb], ids=["postgresql", "mariadb"])
def url(request: pytest.FixtureRequest, cloud: Cloud) -> Iterator[str]:
    """The address of an empty database."""
    with request.param() as address:
        yield address


def test_all_that_open_a_new_database_at_once_can_use_it(url: str) -> None:
    for _ in range(3):
        assert together(url) == [None] * 4
        with Database(url).transaction("begin anew") as connection:
            TABLES.drop_all(connection)


def test_what_is_written_is_read_by_the_next_program(url: str) -> None:
    first, second = (action.uuid for action in PLAN.actions)
    with journal_of(Database(url), PLAN, resume=False) as journal:
        journal.write(first, Entry("ONGOING", "", {"newest": 7}, 0.5))
        journal.write(first, DONE)
        with pytest.raises(JournalError, match="is being carried out by another program"), journal_of(Database(url), PLAN, resume=True):
            pass
    assert execution_of(Database(url), PLAN) == (PLAN, {first: DONE})
    with journal_of(Database(url), PLAN, resume=True) as journal:
        journal.write(second, DONE)
        assert journal.entries() == {first: DONE, second: DONE}


def test_a_lock_ends_with_the_program_that_holds_it(url: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Locked), Database(url).lock("x"):
        pass
    holder.kill()
    holder.wait()
    for _ in range(50):  # the server has to notice
        try:
            with Database(url).lock("x"):
                return
        except Locked:
            pass
    raise AssertionError("the lock outlives the program")


def test_a_server_that_is_not_there(url: str) -> None:
    with pytest.raises(JournalError, match="cannot make its tables") as refused:
        Database(url.rpartition(":")[0] + ":1/x")
    assert "testbed" not in str(refused.value)
