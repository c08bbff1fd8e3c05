"""The calendar of a source in its time zone: the current day, the end of a day, valid periods."""

from datetime import UTC, date, datetime, time, timedelta

from comagic_pipeline.config.source import Source
from comagic_pipeline.config.values import ConfigError


def today(source: Source, now: datetime) -> date:
    """Return the day that it is for the source at this (aware) moment."""
    return now.astimezone(source.zone).date()


def end_of(source: Source, day: date) -> datetime:
    """Return the moment (aware) at which a day of the source is over."""
    return datetime.combine(day + timedelta(days=1), time(), source.zone)


def check_period(
    source: Source, first_day: date, last_day: date, names: tuple[str, str] = ("--from", "--till")
) -> None:
    """Raise ConfigError when the days, both included, are not days that the source has; `names` say what gave them."""
    now = today(source, datetime.now(UTC))
    begin, end = names
    for name, day in ((end, last_day), (begin, first_day)):
        if day < source.start_date:
            raise ConfigError(
                f"{name} {day} is before start_date {source.start_date} of the source {source.name}: "
                "give a later day, or set start_date back in the config"
            )
    if first_day > last_day:
        raise ConfigError(f"{begin} {first_day} is later than {end} {last_day}: swap them")
    if last_day > now:
        raise ConfigError(f"{end} {last_day} lies in the future: the last day there is, is {now} ({source.timezone})")
