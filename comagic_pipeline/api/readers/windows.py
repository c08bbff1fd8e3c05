"""What readers hand on: steps for the caller, proven runs of rows, windows.

A window is the period of one request. How its rows are proven is in `ordered` and `counted`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from dateutil.relativedelta import relativedelta

from comagic_pipeline.api.requests import RowRequests
from comagic_pipeline.api.rows import Rejected, Row

TRIES = 4
"""How often the rows of a window that do not add up are read again in order before they are read without."""

SECOND, DAY = timedelta(seconds=1), timedelta(days=1)

LONGEST_PERIOD = relativedelta(months=3)
"""The longest period of a request (protocol.json, "date_window"); some accounts may have shorter ones."""


@dataclass(frozen=True)
class Rows:
    """Rows of the days from `first_day` to `last_day`, both included; perhaps not yet all of them."""

    first_day: date
    last_day: date
    rows: list[Row]
    rejected: list[Rejected]


@dataclass(frozen=True)
class DaysComplete:
    """All rows of these days, both included, were handed on: they may be stored. `points` were spent meanwhile.

    `differences` are of days that are unproven: how many rows more than were handed out, or fewer, the API counts in
    answers that are equal each time. Where only a longer period could be counted, each of its days has its difference.
    """

    first_day: date
    last_day: date
    points: int
    differences: Mapping[date, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Discarded:
    """Rows that were handed on since the last DaysComplete do not add up: they are void, and read again."""


Step = Rows | DaysComplete | Discarded


@dataclass(frozen=True)
class Proven:
    """Rows that are all there are between the last such run and the moment `until`, which is excluded.

    `differences` are of days of which the API counts more rows than it hands out, or fewer.
    """

    rows: list[Row]
    until: datetime
    rejected: Sequence[Rejected] = ()
    differences: Mapping[date, int] = field(default_factory=dict)

    @classmethod
    def of(cls, requests: RowRequests, rows: list[Row], until: datetime, rejected: list[Rejected]) -> "Proven":
        """Return a run with what was rejected of its rows.

        The other rows of their pages come once more, and so does that.
        """
        return cls(rows, until, rejected_of(requests, rows, rejected))


def rejected_of(requests: RowRequests, rows: list[Row], rejected: list[Rejected]) -> list[Rejected]:
    """Return what was rejected of these rows, and rows that were rejected as a whole."""
    if not rejected:
        return rejected
    labels = set(map(requests.label, rows))
    return [value for value in rejected if value.column is None or value.key in labels]


def longest_until(last_day: date, limit: relativedelta = LONGEST_PERIOD) -> date:
    """Return the first day of the longest period that the limit allows and that ends with this day."""
    end = last_day + DAY
    start = end - limit
    # Months differ: three months before the end of May is the end of February, from which three months end earlier.
    while start + limit < end:
        start += DAY
    return start


class Window:
    """Sorts proven rows into days and counts them.

    `day` is the first that is not complete. `changed_through` is the last of the days that perhaps changed after they
    were proven; None when none did. `is_miscounted` is True when the API's count does not fit them as a whole.
    """

    def __init__(self, time_of: Callable[[Row], datetime], first_day: date, last_day: date, page_rows: int) -> None:
        self.first_day, self.last_day = first_day, last_day
        self.start, self.end = datetime.combine(first_day, time()), datetime.combine(last_day + DAY, time())
        self.changed_through: date | None = None
        self.is_miscounted = False
        self.day = first_day
        self._time = time_of
        self._page_rows = page_rows
        self._rows_of_day: Counter[date] = Counter()

    def count(self, first_day: date, last_day: date) -> int:
        """Return how many rows these days had when they were proven."""
        return sum(rows for day, rows in self._rows_of_day.items() if first_day <= day <= last_day)

    def days(self, runs: Iterator[Proven], take_points: Callable[[], int]) -> Iterator[Step]:
        """Turn runs of proven rows into whole days; a day larger than a page is handed on in parts."""
        held: list[Row] = []
        rejected: list[Rejected] = []
        differences: Counter[date] = Counter()
        for run in runs:
            rows = [row for row in run.rows if self._time(row) < self.end]
            self._rows_of_day.update(self._time(row).date() for row in rows)
            held += rows
            rejected += run.rejected
            differences.update(run.differences)
            midnight = datetime.combine(run.until.date(), time())
            if midnight.date() > self.day:
                last_day = midnight.date() - DAY
                due = [value for value in rejected if value.day is None or value.day <= last_day]
                yield Rows(self.day, last_day, [row for row in held if self._time(row) < midnight], due)
                told = {day: rows for day, rows in differences.items() if rows and day <= last_day}
                yield DaysComplete(self.day, last_day, take_points(), told)
                differences = Counter({day: rows for day, rows in differences.items() if day > last_day})
                self.day = midnight.date()
                held = [row for row in held if self._time(row) >= midnight]
                rejected = [value for value in rejected if value.day is not None and value.day >= self.day]
            if len(held) > self._page_rows:
                yield Rows(self.day, self.day, held, rejected)
                held, rejected = [], []
