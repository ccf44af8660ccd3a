"""The database: SQLite, PostgreSQL or MariaDB, through SQLAlchemy, and locks that all who use it heed."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, MetaData, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError
from tooz import ToozError
from tooz.coordination import get_coordinator

from migrate.journal import JournalError

TABLES = MetaData()
"""All tables; each module of this package adds its own."""

_SERVERS = {"postgresql": ("postgresql", "psycopg2"), "mysql": ("mysql", "pymysql"), "mariadb": ("mysql", "pymysql")}
"""Database servers: what tooz calls them, for their locks, and the driver that both use."""


class Locked(JournalError):
    """Somebody else holds the lock."""


def existing(url: str) -> "Database | None":
    """The database; None where nothing was ever written, because its file is not there. Raises JournalError."""
    try:
        address = make_url(url)
    except ArgumentError:
        return Database(url)  # which says what is wrong
    absent = address.get_backend_name() == "sqlite" and not Path(address.database or "").exists()
    return None if absent else Database(url)


class Database:
    """A database whose tables are made where there are none; each transaction is durable when it has ended."""

    def __init__(self, url: str) -> None:
        """Raises JournalError for an address that is none, and where the database cannot be used."""
        try:
            self._url = make_url(url)
            if self._url.drivername in _SERVERS:
                self._url = self._url.set(drivername=f"{self._url.drivername}+{_SERVERS[self._url.drivername][1]}")
            self._engine = create_engine(self._url)
        except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
            raise JournalError(f"[database] connection: {error}; need an address such as sqlite:////var/lib/placewright/placewright.db") from None
        if self._engine.dialect.name == "sqlite":
            self._open_file(self._url.database)
        elif self._engine.dialect.name not in _SERVERS:
            raise JournalError(f"[database] connection: {self._engine.dialect.name} is not supported; there are sqlite, postgresql and mysql")
        self._make_tables()

    def _make_tables(self) -> None:
        """One program at a time: what another has just made is no table to make again."""
        doing = "make its tables"
        with self.transaction(doing) as connection:
            missing = TABLES.tables.keys() - inspect(connection).get_table_names()
        if missing:
            with self.lock("placewright-tables", wait=True), self.transaction(doing) as connection:
                TABLES.create_all(connection)

    def _open_file(self, file: str | None) -> None:
        if not file or file == ":memory:":
            raise JournalError("[database] connection: need a file, what is in memory does not outlive the program")
        try:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise JournalError(f"database {file}: cannot make its folder: {error.strerror}") from error
        event.listen(self._engine, "connect", _wait_for_the_disk)

    @contextmanager
    def transaction(self, what: str) -> Iterator[Connection]:
        """All or nothing; raises JournalError that says what could not be done."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise JournalError(f"database {self._url.render_as_string()}: cannot {what}: {reason}") from error

    @contextmanager
    def lock(self, name: str, *, wait: bool = False) -> Iterator[None]:
        """Hold a lock; Locked when somebody has it and there is no wait. It ends with the program that holds it, however that ends."""
        if self._engine.dialect.name == "sqlite":
            address = f"file://{Path(self._url.database or '').resolve()}.locks"
        else:
            address = self._url.set(drivername=_SERVERS[self._engine.dialect.name][0]).render_as_string(hide_password=False)
        with ExitStack() as held:
            try:
                coordinator = get_coordinator(address, f"{socket.gethostname()}-{os.getpid()}".encode())
                coordinator.start()
                held.callback(coordinator.stop)
                lock = coordinator.get_lock(name.encode())
                if not lock.acquire(blocking=wait):
                    raise Locked(f"{name} is held by another program")
                held.callback(lock.release)
            except (ToozError, ImportError, OSError) as error:
                raise JournalError(f"database {self._url.render_as_string()}: cannot be used for locks: {error}") from error
            yield


def _wait_for_the_disk(connection: Any, record: object) -> None:
    """SQLite takes its time for durability only when told to; others do by themselves."""
    connection.execute("PRAGMA synchronous=FULL")
