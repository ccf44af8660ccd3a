"""Times at which servers may be moved."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim


@dataclass(frozen=True, slots=True)
class Opening:
    """A time that comes again and again: it begins when ``cron`` says (in ``timezone``) and lasts ``minutes``; ``origin`` is who asked for it."""

    cron: str
    minutes: int
    timezone: str
    origin: str

    def open_at(self, now: datetime) -> bool:
        """Whether a moment is within."""
        local = now.astimezone(ZoneInfo(self.timezone))
        # Backwards from a minute later, since CronSim leaves out the moment itself.
        last = next(one for one in CronSim(self.cron, local + timedelta(minutes=1), reverse=True) if one <= local)
        return local.astimezone(UTC) - last.astimezone(UTC) < timedelta(minutes=self.minutes)

    def opens_after(self, now: datetime) -> datetime:
        """When it begins next."""
        return next(CronSim(self.cron, now.astimezone(ZoneInfo(self.timezone))))
