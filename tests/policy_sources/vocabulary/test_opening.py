"""Windows: when they are open, and when again."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from policy_sources.vocabulary.opening import Opening

NIGHTLY = Opening("30 22 * * 1-5", 120, "Europe/Berlin", "me")


def at(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


@pytest.mark.parametrize(("now", "is_open"), [
    ("2026-11-25T22:29:59", False), ("2026-11-25T22:30:00", True), ("2026-11-26T00:29:59", True), ("2026-11-26T00:30:00", False),
    ("2026-11-28T00:10:00", True), ("2026-11-28T22:40:00", False), ("2026-11-29T23:00:00", False),
])
def test_open(now: str, is_open: bool) -> None:
    assert NIGHTLY.open_at(at(now)) == is_open
    assert NIGHTLY.open_at(at(now).astimezone(ZoneInfo("UTC"))) == is_open


def test_the_next_time() -> None:
    assert NIGHTLY.opens_after(at("2026-11-27T22:30:00")) == at("2026-11-30T22:30:00")
    assert NIGHTLY.opens_after(at("2026-11-27T21:29:00", "UTC")) == at("2026-11-27T22:30:00")


def test_the_hour_that_is_there_twice_and_the_one_that_is_missing() -> None:
    early = Opening("30 2 * * *", 30, "Europe/Berlin", "me")
    assert early.open_at(at("2026-10-25T00:45:00", "UTC")) or early.open_at(at("2026-10-25T01:45:00", "UTC"))
    assert early.open_at(at("2026-03-29T01:10:00", "UTC"))  # there is no 2:30; it opens at 3:00
