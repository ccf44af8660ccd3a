"""The journal of executions in the database."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from statistics import median

from sqlalchemy import Column, Double, String, Table, Text, delete, insert, select
from sqlalchemy.dialects.mysql import LONGTEXT

from migrate.duration import MIN_SAMPLES
from migrate.journal import TOOK_S, Entry, Journal, JournalError
from migrate.plan import Plan, dumped, loaded
from placewright.store.database import TABLES, Database, Locked

_EXECUTIONS = Table(
    "executions", TABLES, Column("plan", String(36), primary_key=True), Column("digest", String(64), nullable=False),
    Column("began_at", Double, nullable=False))
_ENTRIES = Table(
    "entries", TABLES, Column("plan", String(36), primary_key=True), Column("action", String(36), primary_key=True),
    Column("state", String(10), nullable=False), Column("text", Text, nullable=False), Column("trace", Text, nullable=False),
    Column("started_s", Double), Column("ended_s", Double))
_FOLLOW_UPS = Table(
    "follow_ups", TABLES, Column("plan", String(36), primary_key=True),
    Column("document", Text().with_variant(LONGTEXT(), "mysql", "mariadb"), nullable=False))  # their TEXT ends at 64 KiB

_LATELY = 300  # actions that are looked at


@contextmanager
def journal_of(database: Database, plan: Plan, *, resume: bool) -> Iterator[Journal]:
    """The journal of a plan, for one program at a time: a new one, or with ``resume`` the one there is. Raises JournalError."""
    with _alone(database, plan):
        journal = _found(database, plan)
        if journal is not None:
            if not resume:
                _refuse(journal, plan)
        elif resume:
            raise JournalError(f"plan {plan.uuid} was never begun, so there is nothing to go on with; apply it without --resume")
        else:
            journal = _SqlJournal(database, plan.uuid, time.time())
            with database.transaction("begin an execution") as connection:
                connection.execute(insert(_EXECUTIONS).values(plan=plan.uuid, digest=_digest(plan), began_at=journal.began_at))
        yield journal


def execution_of(database: Database, plan: Plan) -> tuple[Plan, Mapping[str, Entry]]:
    """A plan that nobody carries out now, then what followed it, and what is known of the actions of both.

    Raises JournalError, also for a plan that was never begun.
    """
    with _alone(database, plan):
        journal = _found(database, plan)
        if journal is None:
            raise JournalError(f"plan {plan.uuid} was never begun, as far as this database knows")
        return _whole(journal, plan)


def _whole(journal: "_SqlJournal", plan: Plan) -> tuple[Plan, Mapping[str, Entry]]:
    followed = journal.followed()
    if followed is None:
        return plan, journal.entries()
    return plan.then(followed[0]), {**journal.entries(), **followed[1].entries()}


def handling_s(database: Database, cloud: str, since: datetime) -> float:
    """What live migrations on a cloud have taken beyond what that was at them, in the middle; 0 where fewer than MIN_SAMPLES tell.

    It passes until the cloud begins one, and from its end until it is seen and verified. What followed a plan is not looked at. Raises JournalError.
    """
    lately = select(_ENTRIES).join(_EXECUTIONS, _ENTRIES.c.plan == _EXECUTIONS.c.plan).where(
        _EXECUTIONS.c.began_at + _ENTRIES.c.ended_s >= since.timestamp(), _ENTRIES.c.state == "SUCCEEDED", _ENTRIES.c.trace.contains(f'"{TOOK_S}"'))
    with database.transaction("read the journal") as connection:
        rows = connection.execute(lately.order_by(_EXECUTIONS.c.began_at.desc()).limit(_LATELY)).all()
    took = (json.loads(row.trace)[TOOK_S].get(cloud) for row in rows)
    beyond = [row.ended_s - row.started_s - seconds for row, seconds in zip(rows, took, strict=True) if seconds is not None]
    return max(0.0, median(beyond)) if len(beyond) >= MIN_SAMPLES else 0.0


@contextmanager
def _alone(database: Database, plan: Plan) -> Iterator[None]:
    try:
        with database.lock(f"placewright-{plan.uuid}"):
            yield
    except Locked:
        raise JournalError(f"plan {plan.uuid} is being carried out by another program") from None


def _found(database: Database, plan: Plan) -> "_SqlJournal | None":
    """The journal that there is of a plan."""
    with database.transaction("read executions") as connection:
        row = connection.execute(select(_EXECUTIONS).where(_EXECUTIONS.c.plan == plan.uuid)).one_or_none()
    if row is None:
        return None
    journal = _SqlJournal(database, plan.uuid, row.began_at)
    if row.digest != _digest(plan):
        raise JournalError(f"plan {plan.uuid} was begun at {journal.begun}, but it said something else then; need the file as it was")
    return journal


def _digest(plan: Plan) -> str:
    return sha256(dumped(plan)).hexdigest()


def _refuse(journal: "_SqlJournal", plan: Plan) -> None:
    """A plan is carried out once."""
    when = journal.begun
    whole, entries = _whole(journal, plan)
    left = [action for action in whole.actions if action.uuid not in entries or entries[action.uuid].state in ("PENDING", "ONGOING")]
    if left:
        raise JournalError(f"plan {plan.uuid} was begun at {when} and did not end, {len(left)} of {len(whole.actions)} actions are open; "
                           "go on with --resume")
    counts = ", ".join(f"{n} {state}" for state, n in sorted(Counter(entry.state for entry in entries.values()).items()))
    raise JournalError(f"plan {plan.uuid} was carried out at {when} ({counts}); run the audit again")


@dataclass(frozen=True)
class _SqlJournal:
    """Entries in the database, each in a transaction of its own."""

    database: Database
    plan: str
    began_at: float

    @property
    def begun(self) -> str:
        """When, in words."""
        return datetime.fromtimestamp(self.began_at, UTC).isoformat(timespec="seconds")

    def entries(self) -> Mapping[str, Entry]:
        """What was written last of each action."""
        with self.database.transaction("read the journal") as connection:
            rows = connection.execute(select(_ENTRIES).where(_ENTRIES.c.plan == self.plan)).all()
        return {row.action: Entry(row.state, row.text, json.loads(row.trace), row.started_s, row.ended_s) for row in rows}

    def write(self, action: str, entry: Entry) -> None:
        """Replace what was written before."""
        with self.database.transaction("write to the journal") as connection:
            connection.execute(delete(_ENTRIES).where(_ENTRIES.c.plan == self.plan, _ENTRIES.c.action == action))
            connection.execute(insert(_ENTRIES).values(plan=self.plan, action=action, state=entry.state, text=entry.text, trace=json.dumps(
                dict(entry.trace)), started_s=entry.started_s, ended_s=entry.ended_s))

    def elapsed_s(self) -> float:
        """By the clock of the day, which all programs share."""
        return max(0.0, time.time() - self.began_at)

    def followed(self) -> "tuple[Plan, _SqlJournal] | None":
        """As it was written down."""
        with self.database.transaction("read what follows a plan") as connection:
            document = connection.execute(select(_FOLLOW_UPS.c.document).where(_FOLLOW_UPS.c.plan == self.plan)).scalar_one_or_none()
        if document is None:
            return None
        plan = loaded(document.encode(), f"what follows plan {self.plan}")
        return plan, replace(self, plan=plan.uuid)

    def follow(self, plan: Plan) -> "_SqlJournal":
        """Its times count from the same beginning."""
        with self.database.transaction("write down what follows a plan") as connection:
            connection.execute(insert(_FOLLOW_UPS).values(plan=self.plan, document=dumped(plan).decode()))
        return replace(self, plan=plan.uuid)
