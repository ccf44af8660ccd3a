"""What several commands share."""

import logging
from pathlib import Path

import pytest

from migrate.journal import Entry
from placewright.cli.common import handled
from placewright.config import load_config
from placewright.store.database import Database
from placewright.store.journal import journal_of
from tests.migrate.instances import move, plan


@pytest.mark.parametrize(("hours", "handling_s"), [(24, 2.0), (0, 0.0)])
def test_what_earlier_plans_took_counts_for_the_next(tmp_path: Path, hours: int, handling_s: float) -> None:
    """Of 3 s one passes, in the middle, until the next look, which a timetable knows of."""
    url, settings = f"sqlite:///{tmp_path}/x.db", tmp_path / "c.conf"
    settings.write_text(f"[database]\nconnection = {url}\n[time_model]\nlearn_hours = {hours}\n")
    conf = load_config([settings])
    assert handled(conf, "east") == 0
    assert list(tmp_path.iterdir()) == [settings], "nothing is made"
    moves = [move(f"s{n}", "h1", "h2") for n in range(5)]
    with journal_of(Database(url), plan(*moves), resume=False) as journal:
        for one in moves:
            journal.write(one.uuid, Entry("SUCCEEDED", "", {"took_s": {"east": 3.0}}, 1.0, 7.0))
    assert (handled(conf, "east"), handled(conf, "west")) == (handling_s, 0)


def test_a_journal_that_cannot_be_read_is_no_reason_to_make_no_plan(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = tmp_path / "c.conf"
    settings.write_text("[database]\nconnection = postgresql://user:secret@127.0.0.1:1/x\n")
    with caplog.at_level(logging.WARNING):
        assert handled(load_config([settings]), "east") == 0
    (told,) = caplog.messages
    assert told.startswith("plans are timed without what earlier ones took: database postgresql")
    assert "secret" not in told
