"""The check `recent_rows` of a report: the time since its last row is usual for the account.

A call centre that sleeps at night is silent every night; one that is silent on a Tuesday at noon has lost its telephony
or its reports. What is usual for an hour of a weekday is read from the weeks before.
"""

from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from dagster import AssetCheckSpec

from comagic_pipeline.api.quota import utc_now
from comagic_pipeline.catalog import ColumnType, Method
from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.config import Source
from comagic_pipeline.config.calendar import end_of, today
from comagic_pipeline.dagster.assets.describe import asset_key
from comagic_pipeline.dagster.checks.finding import Figures, Finding, Look
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.quality.activity_gaps import WEEKS, Silence, recent_days, silences

NAME = "recent_rows"
_DESCRIPTION = (
    "The last row is not older than the account's rhythm explains: at most twice the longest silence that this hour of "
    f"this weekday had in the last {WEEKS} weeks, and two hours."
)
_FACTOR = 2
_LEAST = timedelta(hours=2)
"""No silence up to this is worth a word."""
_FEWEST_WEEKS = 3
_LOADED_RECENTLY = timedelta(hours=3)
"""Of a report that was not loaded for longer nobody knows whether rows came: `all_days_loaded` tells of it."""
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


@dataclass(frozen=True)
class Rhythm:
    """Since when no row has come, and how long the silences of other weeks were at the hour of `moment`.

    `moment` is up to when the report is loaded; times are wall times of the account.
    """

    moment: datetime
    silent_since: datetime
    usual: Sequence[timedelta]

    @property
    def silence(self) -> timedelta:
        """How long no row has come."""
        return self.moment - self.silent_since

    @property
    def accepted(self) -> timedelta | None:
        """The longest silence that is no news; None while too few weeks are known."""
        return None if len(self.usual) < _FEWEST_WEEKS else max(_FACTOR * max(self.usual), _LEAST)

    @property
    def passed(self) -> bool:
        """True while the silence is usual, or nobody can tell."""
        return self.accepted is None or self.silence <= self.accepted

    @property
    def description(self) -> str:
        """What a person should know."""
        if self.accepted is None:
            known = len(self.usual)
            return f"Not enough history: of {_FEWEST_WEEKS} weeks with this hour of the week {known} are known."
        usual = f"usual at this hour of the week are up to {_hours(max(self.usual))} hours"
        silence = f"for {_hours(self.silence)} hours; {usual}"
        if self.passed:
            return f"No row {silence}."
        return (
            f"No row since {self.silent_since:%Y-%m-%d %H:%M}, {silence}: see whether the personal account shows later "
            "ones, and whether the telephony works."
        )

    @property
    def metadata(self) -> Figures:
        """Figures for the UI's plots."""
        told: Figures = {
            "known_weeks": len(self.usual),
            "silent_hours": _hours(self.silence),
            "silent_since": self.silent_since.isoformat(" ", "seconds"),
        }
        if self.accepted is not None:
            told |= {"usual_hours": _hours(max(self.usual)), "accepted_hours": _hours(self.accepted)}
        return told


def rhythm(moment: datetime, last: datetime | None, found: Sequence[Silence], loaded: Set[date]) -> Rhythm:
    """Return the rhythm at a moment, as far as it is known: a day that is not loaded would pass for a silent one."""
    known_from = moment.date()
    while known_from - _DAY in loaded:
        known_from -= _DAY
    begin = datetime.combine(known_from, time())
    silent_since = max(last or begin, begin)
    return Rhythm(moment, silent_since, [each.end - each.begin for each in found if _days(each) <= loaded])


def found_rhythms(
    source: Source, warehouse: Warehouse, now: datetime, methods: Collection[Method]
) -> Iterator[Finding]:
    """Yield what is found at this moment (aware) of these reports, which have times of a clock."""
    since = today(source, now) - timedelta(weeks=WEEKS + 1)
    with warehouse.connect() as connection:
        ledger = recent_days(connection, source.account_id, [method.table for method in methods], since)
        for method in methods:
            key, days = asset_key(source, method.table), ledger.get(method.table, [])
            # Rows are there up to the moment at which the newest day was loaded, or to its end.
            seen_until = min(days[-1].loaded_at, end_of(source, days[-1].day), now) if days else None
            if seen_until is None or now - seen_until > _LOADED_RECENTLY:
                description = "The report was not loaded lately: whether rows came is not known."
                yield Finding(key, NAME, True, description)
                continue
            moment = seen_until.astimezone(source.zone).replace(tzinfo=None)
            last, found = silences(connection, warehouse, source.account_id, method, moment)
            told = rhythm(moment, last, found, {each.day for each in days})
            yield Finding(key, NAME, told.passed, told.description, told.metadata)


def timed_reports(source: Source) -> list[Method]:
    """Return the reports of a source whose rows have the time of a clock."""
    return [
        method
        for method in REPORTS
        if method.table in source.chosen_tables
        and method.time_column
        and method.column(method.time_column).type is ColumnType.TIMESTAMP
    ]


def recent_rows(source: Source, method: Method) -> Look:
    """Return the check of a report of a source."""
    return Look(
        [AssetCheckSpec(NAME, asset=asset_key(source, method.table), description=_DESCRIPTION)],
        lambda warehouse, _: found_rhythms(source, warehouse, utc_now(), [method]),
    )


def _days(silence: Silence) -> set[date]:
    first_day = silence.begin.date()
    return {first_day + number * _DAY for number in range((silence.end.date() - first_day).days + 1)}


def _hours(span: timedelta) -> float:
    return round(span / _HOUR, 1)
