"""The section `sources`: the accounts, what to load of them and when."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, PrivateAttr, StringConstraints, model_validator

from comagic_pipeline import catalog
from comagic_pipeline.api.filters.parser import Filter, parse_filter
from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog.table_names import REPORTS, TABLE_NAMES, default_tables, with_what_they_need
from comagic_pipeline.config.values import (
    OFF,
    ConfigError,
    Day,
    Mistakes,
    Schedule,
    Section,
    Setting,
    WholeNumber,
    one_of,
)
from comagic_pipeline.core.suggestions import nearest
from comagic_pipeline.custom_reports.report import CustomReport

MAX_KEEP_DAYS = 36_500
"""A hundred years: with more days the first day that is kept would lie before the calendar."""
SANDBOX = "sandbox"
"""As `base_url`: the sandbox API of this project instead of the vendor's."""
SANDBOX_PORT = 8765
"""Where the sandbox of `up` and `demo` listens on this machine."""
SANDBOX_URL_VARIABLE = "COMAGIC_SANDBOX_URL"
"""Where it answers when another port was chosen."""


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write an IANA name such as Europe/Moscow") from error
    return name


def _base_url(url: Setting) -> Setting:
    # What a variable stands for is checked when it is looked up.
    if url != SANDBOX and not url.has_variables:
        _check_address(url)
    return url


def _check_address(url: str) -> None:
    """Raise ValueError when no key should be sent there."""
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError(f"write the address of the Data API, such as https://dataapi.comagic.ru/v2.0, or {SANDBOX}")
    if parts.username or parts.password:
        raise ValueError("an address holds no key; put it into token")
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        raise ValueError("the key travels in the request: use https:// (http:// is for this machine only)")


_REPORTS = {method.table: method for method in REPORTS}


def _filters(filters: dict[str, str]) -> dict[str, str]:
    mistakes = Mistakes()
    for table, text in filters.items():
        if table not in _REPORTS:
            mistakes.add(f"there is no report {table!r}{nearest(table, _REPORTS)}", table)
            continue
        try:
            parse_filter(text, _REPORTS[table])
        except ValueError as error:
            mistakes.add(str(error), table)
    mistakes.raise_if_any()
    return filters


_UserId = Annotated[WholeNumber, Field(ge=1, le=2**63 - 1)]


class DayPoints(Section):
    """What backfills must leave of the day's points, for the nightly load."""

    reserve: WholeNumber = Field(
        default=300,
        ge=0,
        description="Points of the day that backfills and `load` leave for the scheduled loads.",
    )


class Reconciliation(Section):
    """How the warehouse is compared with the API."""

    days: WholeNumber = Field(default=30, ge=1, le=366, description="How many past days are compared, 1 to 366.")
    mode: Literal["quick", "sampled", "full"] = Field(
        default="sampled",
        description="`quick`: numbers of rows; `sampled`: the rows of some days in turn besides; `full`: all rows.",
    )
    tables: Annotated[list[str], Field(min_length=1), AfterValidator(one_of("report", _REPORTS))] = Field(
        default=["calls_report"], description="Which reports the schedule compares; those that the source loads."
    )
    tolerance: WholeNumber = Field(
        default=0, ge=0, description="Differences of calls and of seconds up to this are accepted."
    )
    schedule: Schedule = Field(default="0 6 * * *", description=f"When: cron by the source's clock, or `{OFF}`.")
    heal_days: WholeNumber = Field(
        default=10, ge=0, description="How many days that differ are loaded again by themselves, each day at most."
    )


class LossLimit(Section):
    """When a load that would remove rows is refused."""

    percent: int = Field(
        default=20,
        ge=0,
        le=100,
        description="A load that would remove more than so much of a closed day's rows, or of a dictionary, keeps the "
        "old rows and says so; 100 switches it off.",
    )
    rows: int = Field(default=10, ge=1, description="Losses of fewer rows are always accepted.")


class Retention(Section):
    """What is deleted when it is old."""

    keep_days: WholeNumber | None = Field(
        default=None,
        ge=1,
        le=MAX_KEEP_DAYS,
        description="Rows of days before the last so many are deleted; without it nothing is.",
    )
    layers: Annotated[list[Literal["raw", "star", "custom_reports"]], Field(min_length=1)] = Field(
        default=["raw", "star", "custom_reports"], description="Where: `raw`, `star`, `custom_reports`."
    )
    schedule: Schedule = Field(default="0 3 * * *", description=f"When: cron by the source's clock, or `{OFF}`.")


class Source(Section):
    """One configured CoMagic account."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = Field(
        description="Prefix of its assets, groups and jobs: small letters, digits, _; at most 32, a letter first."
    )
    account_id: WholeNumber = Field(
        ge=1, le=2**31 - 1, description="Number that every row carries: your choice, one for each source."
    )
    base_url: Annotated[Setting, AfterValidator(_base_url)] = Field(
        description=f"Address of the Data API, or `{SANDBOX}` for a made-up account on this machine."
    )
    token: Setting | None = Field(default=None, description="Key of the API; or give login and password.")
    login: Setting | None = Field(default=None, description="Login of a user of the account, where there is no token.")
    password: Setting | None = Field(default=None, description="Password of that user.")
    start_date: Day = Field(description="First day of the history, YYYY-MM-DD.")
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="Europe/Moscow", description="Time zone of the account, an IANA name; `doctor` compares it."
    )
    refresh_days: WholeNumber = Field(
        default=7, ge=1, le=90, description="How many past days each nightly load replaces, 1 to 90."
    )
    tables: Literal["all"] | Annotated[list[str], Field(min_length=1), AfterValidator(one_of("table", TABLE_NAMES))] = (
        Field(default="all", description="`all`, or a list of tables; what they need comes along.")
    )
    filters: Annotated[dict[str, str], AfterValidator(_filters)] = Field(
        default={}, description="Which rows of a report are wanted: an expression by the name of its table."
    )
    user_ids: Literal["all"] | Annotated[list[_UserId], Field(min_length=1)] | None = Field(
        default=None, description="For the key of an agent: `all` customers, or a list of ids of their users."
    )
    day_points: DayPoints = DayPoints()
    reconciliation: Reconciliation = Reconciliation()
    retention: Retention = Retention()
    loss_limit: LossLimit = LossLimit()
    keep_deleted_days: int = Field(
        default=30,
        ge=0,
        le=3660,
        description="How many days rows that a load removes are kept in comagic_ops.removed_rows; 0: not at all.",
    )
    _custom_reports: tuple[CustomReport, ...] = PrivateAttr(default=())

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.token is not None and (self.login is not None or self.password is not None):
            raise ValueError("give token, or login and password, not both")
        for table in self.filters:
            if table not in self.chosen_tables:
                raise ValueError(f"filters: {table} is not among the tables of the source")
        if self.token is None and (self.login is None or self.password is None):
            raise ValueError("give token, or login and password")
        return self

    @model_validator(mode="after")
    def _keeps_what_is_loaded_again(self) -> Self:
        keep_days = self.retention.keep_days
        needed = {"refresh_days": self.refresh_days, "reconciliation.days": self.reconciliation.days}
        if keep_days is not None and keep_days <= max(needed.values()):
            name, days = max(needed.items(), key=lambda each: each[1])
            raise ValueError(
                f"retention.keep_days {keep_days} must be more than {name}, {days}: else it deletes what "
                "is loaded or compared again"
            )
        return self

    def resolved_base_url(self) -> str:
        """`base_url` with its variables filled in; raises ConfigError when that is no address for a key."""
        place = f"sources.{self.name}.base_url"
        url = self.base_url.resolve(place)
        try:
            _check_address(url)
        except ValueError as error:
            raise ConfigError(f"{place}: {error}") from None
        return url

    @property
    def is_agent(self) -> bool:
        """True when the key is an agent's and serves the accounts of customers."""
        return self.user_ids is not None

    @property
    def chosen_tables(self) -> frozenset[str]:
        """The tables that the source has: those that were chosen and those that they need."""
        chosen = default_tables(is_agent=self.is_agent) if self.tables == "all" else self.tables
        return with_what_they_need(chosen, is_agent=self.is_agent)

    @property
    def tables_that_come_along(self) -> list[str]:
        """The tables that were not chosen and are loaded because chosen ones need them or are built with them."""
        chosen = default_tables(is_agent=self.is_agent) if self.tables == "all" else self.tables
        return [name for name in TABLE_NAMES if name in self.chosen_tables - set(chosen)]

    def filter(self, table: str) -> Filter | None:
        """Return which rows of a report are wanted; None for all."""
        return parse_filter(self.filters[table], catalog.tables()[table]) if table in self.filters else None

    @property
    def custom_reports(self) -> tuple[CustomReport, ...]:
        """The custom reports of the source."""
        return self._custom_reports

    def give_reports(self, reports: Sequence[CustomReport]) -> None:
        """Note the custom reports that the file has for the source."""
        self._custom_reports = tuple(reports)

    @property
    def reports(self) -> dict[str, Method]:
        """What the source loads by days, by the name in the ledger: reports into raw tables, and custom ones."""
        chosen = self.chosen_tables
        raw = {method.table: method for method in REPORTS if method.table in chosen}
        return raw | {report.asset_name: report.method for report in self.custom_reports}

    def holds(self, report: CustomReport) -> bool:
        """Return whether the raw tables that the source loads have all that a custom report of it wants."""
        table = report.method.table
        if not report.reads_raw or table not in self.chosen_tables:
            return False
        chosen = self.filter(table)
        return chosen is None or (report.filter is not None and report.filter.is_within(chosen))

    def horizon(self, layer: str, today: date) -> date | None:
        """Return the first day that a layer (raw, star or custom_reports) keeps; None when it keeps all."""
        if self.retention.keep_days is None or layer not in self.retention.layers:
            return None
        return today - timedelta(days=self.retention.keep_days)

    @property
    def zone(self) -> ZoneInfo:
        """The account's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def pool(self) -> str:
        """The name of the concurrency pool that bounds the runs with requests to this account."""
        return f"comagic_{self.name}"


def unknown_source(name: str, names: list[str]) -> str:
    """Return what is said of a source that there is not."""
    return f"there is no source {name!r}{nearest(name, names)}; the config has: {', '.join(names)}"
