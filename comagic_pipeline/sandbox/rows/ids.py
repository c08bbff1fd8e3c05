"""Ids of rows, and the luck that is drawn from an id: it stays the same whatever happens to other rows."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import TypeVar
from zlib import crc32

from comagic_pipeline.sandbox.rows.cast import Cast

T = TypeVar("T")
_FIRST_DAY = date(2015, 1, 1).toordinal()
_STRIDE = 611_953
_BITS = 2**64 - 1


class Ids:
    """Ids of the rows of a day: unique over all days, in no order, and apart between the customers of an agent.

    They begin with ``first``, and every day has 10 million. Multiplying by anything below a prime spreads numbers up to
    it without a repeat.
    """

    _PER_DAY = 10_000_000
    _PRIME = 9_999_991

    def __init__(self, first: int) -> None:
        self._first = first

    def of_day(self, cast: Cast, day: date) -> Callable[[int], int]:
        """Return the id of the row with a number: 0, 1, 2 and so on."""
        first = self._first + cast.id_offset + (day.toordinal() - _FIRST_DAY) * self._PER_DAY
        shift = crc32(f"{cast.seed}/{self._first}/{day}".encode()) % self._PRIME
        return lambda number: first + (number * _STRIDE + shift) % self._PRIME

    def day(self, cast: Cast, row_id: int) -> date | None:
        """Return the day that an id belongs to; None for one that no day has."""
        ordinal = (row_id - self._first - cast.id_offset) // self._PER_DAY + _FIRST_DAY
        return date.fromordinal(ordinal) if date.min.toordinal() < ordinal < date.max.toordinal() else None


def luck(number: int, salt: int = 0) -> float:
    """From 0 to below 1, by a number; another salt gives independent luck. One step of splitmix64."""
    bits = (number + 1 + salt * 0xD1B54A32D192ED03) * 0x9E3779B97F4A7C15 & _BITS
    bits = (bits ^ bits >> 30) * 0xBF58476D1CE4E5B9 & _BITS
    bits = (bits ^ bits >> 27) * 0x94D049BB133111EB & _BITS
    return ((bits ^ bits >> 31) >> 11) / 2**53


def pick(values: Sequence[T], number: int, salt: int = 0) -> T:
    """Return one of the values, by the luck of a number."""
    return values[int(luck(number, salt) * len(values))]
