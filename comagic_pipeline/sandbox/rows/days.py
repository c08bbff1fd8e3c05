"""How a generator gets at the rows that its own are made of, and the words it needs for moments."""

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from typing import Protocol

from comagic_pipeline.sandbox.rows.cast import Cast
from comagic_pipeline.sandbox.specification import Row


class Days(Protocol):
    """A world as its generators see it."""

    cast: Cast
    calls_per_day: int
    several_charges: bool

    def made(self, maker: "Maker", day: date) -> list[Row]:
        """Return the rows of a day as a generator made them, changes left aside. Not to be changed."""

    def shown(self, method: str, day: date) -> list[Row]:
        """Return the rows of a day that a report shows now, with the changes made to them. Not to be changed."""

    def between(self, method: str, date_from: str, date_till: str) -> list[Row]:
        """Return what :meth:`shown` gives, for a period."""


Maker = Callable[[Days, date], list[Row]]
"""Makes the rows of a day."""


def moment(day: date, second: float) -> str:
    """Wall time by the second of a day, which may lie on a later or an earlier one."""
    return str(datetime.combine(day, time()) + timedelta(seconds=int(second)))


def later(moment: str, seconds: float) -> str:
    """Wall time some seconds after another."""
    return str(datetime.fromisoformat(moment) + timedelta(seconds=int(seconds)))


def seconds_between(start: str, end: str) -> int:
    """Return how long it is from one wall time to another."""
    return int((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
