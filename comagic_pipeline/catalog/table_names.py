"""The tables that a source can load: raw tables of reports and dictionaries, and star tables of each kind of facts.

To add a kind of facts, name it and its report here, and declare its columns under `warehouse/star/kinds`.
Columns of raw tables are in the catalog itself.
"""

from collections.abc import Collection, Iterable

from comagic_pipeline.catalog import Method, methods

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
SHARED_STAR: tuple[str, ...] = (
    *("general_accounts", "general_dates", "general_clientids", "general_traffic", "general_sites"),
    *("general_locations", "comagic_campaigns"),
)
"""The star tables that every kind of facts helps to fill."""
REPORT_OF_KIND: dict[str, str] = {
    "calls": "calls_report",
    "call_legs": "call_legs_report",
    "chats": "chats_report",
    "offline_messages": "offline_messages_report",
    "goals": "goals_report",
    "visitor_sessions": "visitor_sessions_report",
}
"""The report that each kind of facts is made of."""
_CHILDREN: dict[str, tuple[str, ...]] = {
    "calls": ("tags", "attributes", "employees"),
    "chats": ("tags", "attributes"),
    "offline_messages": ("tags", "attributes"),
    "goals": ("tags", "attributes"),
}
STAR_OF_KIND: dict[str, tuple[str, ...]] = {
    kind: (f"comagic_{kind}", *(f"comagic_{kind}_{part}" for part in ("facts", *_CHILDREN.get(kind, ()))))
    for kind in REPORT_OF_KIND
}
"""The star tables of each kind of facts. They are built together, in one transaction."""
STAR: tuple[str, ...] = (*SHARED_STAR, *(name for names in STAR_OF_KIND.values() for name in names))

TABLE_NAMES: tuple[str, ...] = (*(method.table for method in (*REPORTS, *DICTIONARIES)), *STAR)

MARTS: tuple[str, ...] = (
    "mart_unique_callers",
    "mart_unique_callers_by_traffic",
    "mart_communications",
    "mart_communications_by_tag",
    "mart_tag_changes",
    "mart_freshness",
    "mart_points",
    "mart_reconciliation",
)
"""The views that answer what analysts ask every time."""
JSON_REPORTS = "comagic_reports"
"""The table of custom reports without a structure of their own."""

DEFAULT_VIEWS_PREFIX = "CM"
"""The prefix of the Russian views, unless the configuration sets another; mybi's own for CoMagic is not known."""

_AGENT_TABLES = frozenset(method.table for method in AGENT_DICTIONARIES)


def default_tables(*, is_agent: bool) -> tuple[str, ...]:
    """Return what `tables: all` means.

    Everything but what costs most and, for an account that is no agent, customers.
    """
    left_out = SUMMARIES if is_agent else SUMMARIES | _AGENT_TABLES
    return tuple(name for name in TABLE_NAMES if name not in left_out)


def needed_by(table: str, *, is_agent: bool) -> tuple[str, ...]:
    """Return the raw tables that a table is made from or asked with, in the order of TABLE_NAMES."""
    needed: set[str] = set()
    for kind, report in REPORT_OF_KIND.items():
        if table in STAR_OF_KIND[kind]:
            needed |= {report, "campaigns"}
    for method in (*REPORTS, *DICTIONARIES):
        if table == method.table:
            needed |= {"sites"} if method.needs_site else set()
            needed |= {"customer_users"} if is_agent and method not in AGENT_DICTIONARIES else set()
    return tuple(name for name in TABLE_NAMES if name in needed)


def with_what_they_need(chosen: Iterable[str], *, is_agent: bool) -> frozenset[str]:
    """Return the chosen tables, those that they are built with, and those that they need."""
    found: set[str] = set()
    waiting = set(chosen)
    while waiting:
        found |= waiting
        kinds = kinds_of(found)
        if not kinds and not found.isdisjoint(SHARED_STAR):
            kinds = [next(iter(REPORT_OF_KIND))]
        built = {name for kind in kinds for name in (*STAR_OF_KIND[kind], *SHARED_STAR)}
        waiting = (built | {name for table in found | built for name in needed_by(table, is_agent=is_agent)}) - found
    return frozenset(found)


def kinds_of(chosen: Collection[str]) -> list[str]:
    """Return the names of the kinds of facts of which a star table is chosen."""
    return [kind for kind, tables in STAR_OF_KIND.items() if not set(chosen).isdisjoint(tables)]


def facts_of(report: str, chosen: Collection[str]) -> tuple[str, ...]:
    """Return the chosen tables of facts that are made of a report."""
    return tuple(facts_table(kind) for kind in kinds_of(chosen) if REPORT_OF_KIND[kind] == report)


def facts_table(kind: str) -> str:
    """Return the name of the table of facts of a kind."""
    return f"comagic_{kind}_facts"
