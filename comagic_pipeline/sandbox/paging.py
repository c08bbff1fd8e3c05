"""One page of a query: filter, sort, cut. Reads no more days of the world than the page needs."""

from dataclasses import dataclass
from itertools import chain
from random import Random
from typing import Any

from comagic_pipeline.sandbox.parameters import Order, Query
from comagic_pipeline.sandbox.specification import Method, Row
from comagic_pipeline.sandbox.world import Section, World


@dataclass(frozen=True)
class Page:
    """Rows with all their columns, and how many match the query in all."""

    rows: list[Row]
    total_items: int


def read_page(world: World, method: Method, query: Query, shuffle: Random | None) -> Page:
    """Return the page that a query asks for; ``shuffle`` mixes the rows that the sort leaves equal.

    The sections of a report are its days. Without a sort, or sorted by time first, a page lies in a few of them; the
    others are only counted, at most once, so that a page of a window of millions of rows costs as much as that of a
    small one. Any other sort needs the whole window for every page.
    """
    sections = world.sections(method.name, query.date_from, query.date_till, query.options)
    if query.matches is not None:
        sections = [section.filtered(query.matches, query.condition) for section in sections]
    if query.order and query.order[0].column != method.time_column:
        sections = [_joined(sections)]
    elif query.order and query.order[0].descending:
        sections.reverse()
    elif not query.order and shuffle is not None:
        shuffle.shuffle(sections)
    rows: list[Row] = []
    total_items = 0
    for section in sections:
        begin, missing = max(query.offset - total_items, 0), query.limit - len(rows)
        if missing and begin < section.count:
            rows += _ordered(section.rows(), query.order, shuffle)[begin : begin + missing]
        total_items += section.count
    return Page(rows, total_items)


def _joined(sections: list[Section]) -> Section:
    return Section(lambda: list(chain.from_iterable(section.rows() for section in sections)))


def _ordered(rows: list[Row], order: list[Order], shuffle: Random | None) -> list[Row]:
    if shuffle is not None:
        rows = shuffle.sample(rows, len(rows))
    for item in reversed(order):
        rows = sorted(rows, key=lambda row, name=item.column: _sort_key(row.get(name)), reverse=item.descending)  # type: ignore[misc]
    return rows


def _sort_key(value: Any) -> tuple[bool, bool, Any]:
    """Nulls last, as in PostgreSQL; text apart from numbers, for a test may put the one in place of the other."""
    if isinstance(value, dict | list):
        value = str(value)
    return value is None, isinstance(value, str), value
