"""The database and its locks, as other programs see them."""

import multiprocessing
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

import placewright.store.journal  # noqa: F401  the tables that are made are its
from migrate.journal import JournalError
from placewright.store.database import Database, Locked, existing

HOLD = """
import sys
from placewright.store.database import Database
with Database(sys.argv[1]).lock("x"):
    print("held", flush=True)
    sys.stdin.read()
"""


def together(url: str, programs: int = 4) -> Sequence[object]:
    """How some programs fare that open a database at the same moment: None, or what was raised."""
    apart = multiprocessing.get_context("spawn")
    with apart.Manager() as manager, ProcessPoolExecutor(programs, apart) as pool:
        moment = manager.Barrier(programs)
        return [one.exception() for one in [pool.submit(_open, url, moment) for _ in range(programs)]]


def _open(url: str, moment: Any) -> None:
    moment.wait(60)
    Database(url)


@pytest.mark.parametrize(("url", "said"), [
    ("placewright.db", "need an address such as sqlite:////"),
    ("", "need an address such as sqlite:////"),
    ("sqlite://", "need a file"),
    ("sqlite:///:memory:", "need a file"),
    ("oracle://somewhere/x", "[database] connection: "),
    ("redis://127.0.0.1", "[database] connection: "),
    ("sqlite:////proc/none/placewright.db", "cannot make its folder"),
    ("sqlite:////dev/null", "cannot make its tables"),
    ("postgresql://user:secret@127.0.0.1:1/x", "cannot make its tables"),
])
def test_what_is_refused(url: str, said: str) -> None:
    with pytest.raises(JournalError) as refused:
        Database(url)
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_not_made_to_be_read(tmp_path: Path) -> None:
    urls = [f"sqlite:///{tmp_path}/x.db", f"sqlite+pysqlite:///{tmp_path}/x.db", f"sqlite:///{tmp_path}/x.db?timeout=30"]
    assert [existing(url) for url in urls] == [None] * 3
    assert list(tmp_path.iterdir()) == []
    Database(urls[0])
    assert None not in [existing(url) for url in urls]
    with pytest.raises(JournalError, match="need an address such as"):
        existing("x.db")
    with pytest.raises(JournalError):
        existing("postgresql://user:secret@127.0.0.1:1/x")


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/new/folder/x.db")

    def half_done() -> None:
        with database.transaction("do it") as connection:
            connection.execute(text("INSERT INTO executions VALUES ('p', 'd', 1.0)"))
            connection.execute(text("SELECT * FROM absent"))

    with pytest.raises(JournalError, match="cannot do it: no such table: absent"):
        half_done()
    with database.transaction("look") as connection:
        assert connection.execute(text("SELECT * FROM executions")).all() == []


@pytest.mark.parametrize("attempt", range(3))
def test_all_that_open_a_new_database_at_once_can_use_it(attempt: int, tmp_path: Path) -> None:
    assert together(f"sqlite:///{tmp_path}/x.db") == [None] * 4


def test_a_lock_that_cannot_be_had(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    database = Database(url)
    (tmp_path / "x.db.locks" / "x").mkdir(parents=True)
    with pytest.raises(JournalError, match=r"cannot be used for locks: .*Is a directory"), database.lock("x"):
        pass


def test_a_lock_is_held_by_one_program_and_ends_with_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    database = Database(url)
    with pytest.raises(Locked), database.lock("x"):
        pass
    with database.lock("y"):
        pass
    holder.kill()
    holder.wait()
    with database.lock("x"):
        pass
