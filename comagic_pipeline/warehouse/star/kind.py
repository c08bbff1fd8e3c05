"""A kind of facts, and the tables that all kinds have alike: facts, tags, attributes.

A kind is one report of the API as facts with a dimension of its own. Its folder under `kinds/` holds the declaration of
its tables and `rows.sql`, which selects its rows.
"""

from dataclasses import dataclass

from sqlalchemy import BigInteger, Column, DateTime, Index, Integer, Numeric, String, Table, Text, UniqueConstraint

from comagic_pipeline.catalog.table_names import REPORT_OF_KIND
from comagic_pipeline.warehouse.star.declaration import (
    account_id,
    column,
    customer_user_id,
    key,
    surrogate_id,
    table,
)
from comagic_pipeline.warehouse.star.shared import (
    comagic_campaigns,
    general_clientids,
    general_dates,
    general_locations,
    general_sites,
    general_traffic,
)

_PREFIX = "comagic_"


@dataclass(frozen=True)
class Kind:
    """One report as facts: `dimension` holds its own parameters, one row per fact.

    `children` hold the items of JSON arrays of the report: `<dimension>_<array>`.
    """

    dimension: Table
    facts: Table
    children: tuple[Table, ...] = ()

    @property
    def name(self) -> str:
        """What its rows are: calls, chats, ..."""
        return self.dimension.name.removeprefix(_PREFIX)

    @property
    def report(self) -> str:
        """The raw table that it is made of."""
        return REPORT_OF_KIND[self.name]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables that it fills alone, in the order of their keys."""
        return (self.dimension, self.facts, *self.children)

    @property
    def owner(self) -> str:
        """The column by which facts and children refer to the dimension."""
        return owner_of(self.dimension)

    @property
    def key(self) -> str:
        """The column of the dimension that holds the API's id."""
        return unique_columns(self.dimension)[-1]

    def array(self, child: Table) -> str:
        """Return the array of the report that a child table holds the items of."""
        return child.name.removeprefix(f"{self.dimension.name}_")


def owner_of(dimension: Table) -> str:
    """Return the column by which other tables refer to a kind's dimension."""
    return f"{dimension.name.removeprefix(_PREFIX)}_id"


def unique_columns(table: Table) -> list[str]:
    """Return the columns of the constraint `<table>_key`, which tells rows apart by value."""
    (constraint,) = (each for each in table.constraints if isinstance(each, UniqueConstraint))
    return [each.name for each in constraint.columns]


def dimension_table(name: str, label_ru: str, comment: str, own_id: Column[int], *columns: Column[object]) -> Table:
    """Return a kind's own dimension; `own_id` is the surrogate key, the first of `columns` is the API's id."""
    return table(
        name,
        label_ru,
        comment,
        own_id,
        account_id(),
        *columns,
        customer_user_id(),
        Index(f"{name}_idx_1", "account_id"),
        Index(f"{name}_idx_2", columns[0].name),
        UniqueConstraint("account_id", "customer_user_id", columns[0].name),
    )


def facts_table(label_ru: str, comment: str, dimension: Table, *measures: Column[object]) -> Table:
    """Return the facts of a kind: keys to the shared dimensions and its own one, and measures."""
    name, owner = f"{dimension.name}_facts", owner_of(dimension)
    return table(
        name,
        label_ru,
        comment,
        surrogate_id(),
        account_id(),
        key("dates_id", general_dates, "Идентификатор даты", "When it began or happened"),
        key("clientids_id", general_clientids, "Идентификатор клиента", "The visitor's web analytics id"),
        key("locations_id", general_locations, "Идентификатор местоположения", "Where the visitor was"),
        key("traffic_id", general_traffic, "Идентификатор источника трафика", "Where the visit came from"),
        key("sites_id", general_sites, "Идентификатор сайта", "The site"),
        key(owner, dimension, _label(dimension), f"Its own parameters, {dimension.name}"),
        key("campaigns_id", comagic_campaigns, "Идентификатор кампании", "The advertising campaign"),
        *measures,
        customer_user_id(),
        Index(f"{name}_idx_1", "account_id"),
        Index(f"{name}_idx_2", "dates_id"),
        UniqueConstraint(owner),
    )


def tags_table(label_ru: str, dimension: Table) -> Table:
    """Return the tags of a kind's rows. The columns after `tag_type` are ours: who put the tag, and when."""
    name, owner = f"{dimension.name}_tags", owner_of(dimension)
    return table(
        name,
        label_ru,
        "Tags; a row with several tags multiplies in a grouping by tag",
        surrogate_id(),
        account_id(),
        key(owner, dimension, _label(dimension), f"What is tagged, {dimension.name}"),
        column("tag_id", BigInteger, "Внутренний идентификатор тега", "Tag id in the API"),
        column("name", String(128), "Название тега", "Name of the tag; unknown when empty"),
        column("tag_type", String(8), "Тип тега", "auto or manual; unknown when empty"),
        column("change_time", DateTime, "Время изменения тега", "When the tag was put, wall time", nullable=True),
        column("user_id", BigInteger, "Идентификатор пользователя", "User who put the tag", nullable=True),
        column("user_login", String(128), "Логин пользователя", "Login of that user", nullable=True),
        column("employee_id", BigInteger, "Идентификатор сотрудника", "Employee who put the tag", nullable=True),
        column("employee_full_name", String(256), "Имя сотрудника", "Name of that employee", nullable=True),
        Index(f"{name}_idx_1", "account_id"),
        Index(f"{name}_idx_2", owner),
        UniqueConstraint("account_id", owner, "tag_id"),
    )


def attributes_table(label_ru: str, dimension: Table) -> Table:
    """Return the flags of a kind's rows."""
    name, owner = f"{dimension.name}_attributes", owner_of(dimension)
    return table(
        name,
        label_ru,
        "Flags; a row means that the flag is set",
        surrogate_id(),
        account_id(),
        key(owner, dimension, _label(dimension), f"What is flagged, {dimension.name}"),
        column("attribute_id", String(16), "Внутренний идентификатор атрибута", "API code of the flag"),
        column("name", String(128), "Название атрибута", "Russian caption of the flag"),
        Index(f"{name}_idx_1", "account_id"),
        Index(f"{name}_idx_2", owner),
        UniqueConstraint(owner, "attribute_id"),
    )


def visitor_columns() -> list[Column[object]]:
    """Return who came, and how, in the dimensions of kinds that happen on a site; empty where the API gives none."""
    return [
        column("visitor_id", BigInteger, "Идентификатор посетителя", "Visitor id in the API", nullable=True),
        column("person_id", BigInteger, "Идентификатор персоны", "A person may own several visitors", nullable=True),
        column("visitor_type", String(16), "Тип посетителя", "New or returning, in Russian", nullable=True),
        column("visitor_device", String(16), "Устройство пользователя", "desktop, mobile, ...", nullable=True),
        column("channel", String(32), "Канал", "API code of the traffic channel", nullable=True),
        column("referrer", Text, "Источник перехода", "Full address the visit came from", nullable=True),
        column("search_engine", String(64), "Поисковая система", "Name of the search engine", nullable=True),
        column("search_query", Text, "Поисковый запрос", "Phrase that led to the visit", nullable=True),
    ]


def source_columns() -> list[Column[object]]:
    """Return the detailed traffic source, which all reports of visitors have but that of goals."""
    return [
        column("source_name", String(256), "Источник рекламы", "Name of the detailed traffic source", nullable=True),
        column("channel_code", String(64), "Код канала", "Channel in the current source model", nullable=True),
    ]


def communication_columns() -> list[Column[object]]:
    """Return what chats, offline messages and goals have as communications."""
    session = "Идентификатор сессии посетителя"
    return [
        column("communication_number", Integer, "Номер обращения", "Ordinal among the person's", nullable=True),
        column("communication_page_url", Text, "Страница обращения", "Page at the time of it", nullable=True),
        column("visitor_session_id", BigInteger, session, "Visitor session id in the API", nullable=True),
    ]


def sale_cost() -> Column[object]:
    """Return the amount of the deal that a communication led to."""
    return column("sale_cost", Numeric(18, 2), "Сумма сделки", "Amount of its deal; empty without one", nullable=True)


def _label(dimension: Table) -> str:
    return str(dimension.columns["id"].info["label_ru"])
