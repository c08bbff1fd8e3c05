"""Which tables a source can load, by layer, and what each needs. What they hold is in the catalog and the star."""

from collections.abc import Collection, Iterable

from sqlalchemy import Table

from comagic_pipeline.catalog import Method, methods
from comagic_pipeline.warehouse.star.kind import Kind
from comagic_pipeline.warehouse.star.tables import KINDS, SHARED

REPORTS: tuple[Method, ...] = tuple(m for m in methods().values() if m.group == "report" and m.has_period)
"""Methods with a period: raw assets with a partition for each day."""
AGENT_DICTIONARIES: tuple[Method, ...] = tuple(m for m in methods().values() if m.group == "agent")
"""What only an agent may ask for: his customers and their users."""
DICTIONARIES: tuple[Method, ...] = (
    *(m for m in methods().values() if m.group in ("dictionary", "crm") and not m.time_column),
    *AGENT_DICTIONARIES,
)
"""Methods without one: raw assets that are replaced whole. deals_history is none: it would only grow."""
SUMMARIES: frozenset[str] = frozenset(method.table for method in REPORTS if method.time_column is None)
"""Reports that cost a point for each day, and each site where they need one: loaded only when they are named."""
SHARED_STAR: tuple[str, ...] = tuple(table.name for table in SHARED)
"""The star tables that every kind of facts helps to fill."""
STAR_OF_KIND: dict[str, tuple[str, ...]] = {kind.name: tuple(table.name for table in kind.tables) for kind in KINDS}
"""The star tables of each kind of facts. They are built together, in one transaction."""
STAR: tuple[str, ...] = (*SHARED_STAR, *(name for names in STAR_OF_KIND.values() for name in names))

TABLE_NAMES: tuple[str, ...] = (*(method.table for method in (*REPORTS, *DICTIONARIES)), *STAR)

_AGENT_TABLES = frozenset(method.table for method in AGENT_DICTIONARIES)


def default_tables(*, is_agent: bool) -> tuple[str, ...]:
    """What `tables: all` means: everything but what costs most and, for an account that is no agent, customers."""
    left_out = SUMMARIES if is_agent else SUMMARIES | _AGENT_TABLES
    return tuple(name for name in TABLE_NAMES if name not in left_out)


def needed_by(table: str, *, is_agent: bool) -> tuple[str, ...]:
    """The raw tables that a table is made from or asked with, in the order of TABLE_NAMES."""
    needed: set[str] = set()
    for kind in KINDS:
        if table in STAR_OF_KIND[kind.name]:
            needed |= {kind.report, "campaigns"}
    for method in (*REPORTS, *DICTIONARIES):
        if table == method.table:
            needed |= {"sites"} if method.needs_site else set()
            needed |= {"customer_users"} if is_agent and method not in AGENT_DICTIONARIES else set()
    return tuple(name for name in TABLE_NAMES if name in needed)


def with_what_they_need(chosen: Iterable[str], *, is_agent: bool) -> frozenset[str]:
    """The chosen tables, those that they are built with, and those that they need."""
    found: set[str] = set()
    waiting = set(chosen)
    while waiting:
        found |= waiting
        kinds = tuple(star_of(found))
        if not kinds and not found.isdisjoint(SHARED_STAR):
            kinds = KINDS[:1]
        built = {name for kind in kinds for name in (*STAR_OF_KIND[kind.name], *SHARED_STAR)}
        waiting = (built | {name for table in found | built for name in needed_by(table, is_agent=is_agent)}) - found
    return frozenset(found)


def kinds_of(chosen: Collection[str]) -> list[Kind]:
    """The kinds of facts of which a star table is chosen."""
    return [kind for kind in KINDS if not set(chosen).isdisjoint(STAR_OF_KIND[kind.name])]


def star_of(chosen: Collection[str]) -> dict[Kind, tuple[Table, ...]]:
    """The star tables of each chosen kind of facts; those that kinds share stand with the first."""
    kinds = kinds_of(chosen)
    return {kind: kind.tables if number else (*SHARED, *kind.tables) for number, kind in enumerate(kinds)}


def facts_of(report: str, chosen: Collection[str]) -> tuple[str, ...]:
    """The chosen tables of facts that are made of a report."""
    return tuple(kind.facts.name for kind in kinds_of(chosen) if kind.report == report)
