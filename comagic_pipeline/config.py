"""The configuration file: what it may say, checked before anything is touched. No I/O but reading that one file.

`${NAME}` stands for an environment variable. It is looked up when the value is used, so that definitions load
without secrets, and its value is never shown.
"""

import difflib
import os
import re
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import core_schema

from comagic_pipeline import catalog
from comagic_pipeline.api.filters import Filter, parse_filter
from comagic_pipeline.tables import REPORTS, TABLE_NAMES, default_tables, with_what_they_need
from comagic_pipeline.warehouse.star.views import DEFAULT_PREFIX

CONFIG_VARIABLE = "COMAGIC_CONFIG"
DEFAULT_PATH = "comagic.yaml"
SANDBOX = "sandbox"
"""As `base_url`: the sandbox API of this project instead of the vendor's."""
SANDBOX_PORT = 8765
"""Where the sandbox of `up` and `demo` listens on this machine."""
SANDBOX_URL_VARIABLE = "COMAGIC_SANDBOX_URL"
"""Where it answers when another port was chosen."""
PLANNED_KEYS = {
    "source": ("reconciliation", "retention"),
    "": ("custom_reports",),
}
"""Keys of the design that this version accepts and does not act on; every command says so."""

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ConfigError(Exception):
    """The configuration is wrong: one line that names the place and the mend."""


class Setting(str):
    """Text of the config that may hold `${NAME}` and may be secret: it does not show itself."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """To pydantic it is a text that is not empty."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))

    def __repr__(self) -> str:
        return "Setting(***)"

    def resolve(self, place: str, environment: Mapping[str, str] | None = None) -> str:
        """The text with its variables filled in; raises ConfigError when one is missing or empty."""

        def value(match: re.Match[str]) -> str:
            found = (os.environ if environment is None else environment).get(match[1])
            if not found:
                raise ConfigError(f"{place}: the environment variable {match[1]} is not set")
            return found

        return _VARIABLE.sub(value, self)


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone; write an IANA name such as Europe/Moscow") from error
    return name


def _base_url(url: Setting) -> Setting:
    # What a variable stands for is checked when it is looked up.
    if url != SANDBOX and not _VARIABLE.search(url):
        _check_address(url)
    return url


def _check_address(url: str) -> None:
    """Raises ValueError when no key should be sent there."""
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


def _schema_name(name: str) -> str:
    if name.startswith("pg_") or name in ("information_schema", "public"):
        raise ValueError(f"{name!r} belongs to PostgreSQL; choose another name")
    return name


def _filters(filters: dict[str, str]) -> dict[str, str]:
    reports = {method.table: method for method in REPORTS}
    for table, text in filters.items():
        if table not in reports:
            raise ValueError(f"there is no report {table!r}{_nearest(table, reports)}")
        parse_filter(text, reports[table])
    return filters


def _table_names(names: list[str]) -> list[str]:
    for name in names:
        if name not in TABLE_NAMES:
            raise ValueError(f"there is no table {name!r}{_nearest(name, TABLE_NAMES)}")
    return names


_UserId = Annotated[int, Field(ge=1, le=2**63 - 1)]
_SchemaName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_schema_name)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SchemaNames(_Section):
    """Where the three layers live in the warehouse's database."""

    raw: _SchemaName = Field(default="comagic_raw", description="Schema of the tables as the API gives them.")
    star: _SchemaName = Field(default="comagic", description="Schema of facts, dimensions and marts.")
    ops: _SchemaName = Field(default="comagic_ops", description="Schema of the pipeline's own books.")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len({self.raw, self.star, self.ops}) < 3:
            raise ValueError("raw, star and ops need a schema each")
        return self


class WarehouseConfig(_Section):
    """The database: a PostgreSQL URL, or none for the embedded server."""

    url: Setting | None = Field(
        default=None,
        description="Address of a PostgreSQL, 14 or newer; without it the project runs a PostgreSQL of its own.",
    )
    schemas: SchemaNames = SchemaNames()
    views_prefix: Annotated[str, StringConstraints(pattern=r"^\w[\w ]{0,15}$")] = Field(
        default=DEFAULT_PREFIX,
        description="First word of the names of the Russian views: letters, digits, _ and spaces, at most 16.",
    )


class DayPoints(_Section):
    """What backfills must leave of the day's points, for the nightly load."""

    reserve: int = Field(
        default=300,
        ge=0,
        description="Points of the day that backfills and `load` leave for the scheduled loads.",
    )


class Source(_Section):
    """One configured CoMagic account."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")] = Field(
        description="Prefix of its assets, groups and jobs: small letters, digits, _; at most 32, a letter first."
    )
    account_id: int = Field(
        ge=1, le=2**31 - 1, description="Number that every row carries: your choice, one for each source."
    )
    base_url: Annotated[Setting, AfterValidator(_base_url)] = Field(
        description=f"Address of the Data API, or `{SANDBOX}` for a made-up account on this machine."
    )
    token: Setting | None = Field(default=None, description="Key of the API; or give login and password.")
    login: Setting | None = Field(default=None, description="Login of a user of the account, where there is no token.")
    password: Setting | None = Field(default=None, description="Password of that user.")
    start_date: date = Field(description="First day of the history, YYYY-MM-DD.")
    timezone: Annotated[str, AfterValidator(_zone)] = Field(
        default="Europe/Moscow", description="Time zone of the account, an IANA name; `doctor` compares it."
    )
    refresh_days: int = Field(
        default=7, ge=1, le=90, description="How many past days each nightly load replaces, 1 to 90."
    )
    tables: Literal["all"] | Annotated[list[str], Field(min_length=1), AfterValidator(_table_names)] = Field(
        default="all", description="`all`, or a list of tables; what they need comes along."
    )
    filters: Annotated[dict[str, str], AfterValidator(_filters)] = Field(
        default={}, description="Which rows of a report are wanted: an expression by the name of its table."
    )
    user_ids: Literal["all"] | Annotated[list[_UserId], Field(min_length=1)] | None = Field(
        default=None, description="For the key of an agent: `all` customers, or a list of ids of their users."
    )
    day_points: DayPoints = DayPoints()

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
        """Which rows of a report are wanted; None for all."""
        return parse_filter(self.filters[table], catalog.tables()[table]) if table in self.filters else None

    @property
    def zone(self) -> ZoneInfo:
        """The account's time zone."""
        return ZoneInfo(self.timezone)

    @property
    def pool(self) -> str:
        """The name of the concurrency pool that bounds the runs with requests to this account."""
        return f"comagic_{self.name}"


class Config(_Section):
    """The whole file."""

    warehouse: WarehouseConfig = WarehouseConfig()
    sources: list[Source] = Field(min_length=1)
    _path: Path = PrivateAttr(default=Path(DEFAULT_PATH))
    _ignored: tuple[str, ...] = PrivateAttr(default=())

    @property
    def path(self) -> Path:
        """The file that this came from, absolute."""
        return self._path.absolute()

    @property
    def state_folder(self) -> Path:
        """Where the embedded server and Dagster's local files live: .comagic/ beside the file."""
        return self.path.parent / ".comagic"

    @property
    def ignored(self) -> tuple[str, ...]:
        """The keys of the file that this version accepts and does not act on."""
        return self._ignored

    @model_validator(mode="after")
    def _tell_sources_apart(self) -> Self:
        for key in ("name", "account_id"):
            value, times = Counter(getattr(source, key) for source in self.sources).most_common(1)[0]
            if times > 1:
                raise ValueError(f"{times} sources have the {key} {value}: each needs its own")
        return self

    def source(self, name: str) -> Source:
        """The source of that name; raises ConfigError when there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        names = [source.name for source in self.sources]
        raise ConfigError(f"there is no source {name!r}{_nearest(name, names)}; the config has: {', '.join(names)}")


def config_path() -> Path:
    """The file that COMAGIC_CONFIG names, else comagic.yaml in the current folder."""
    return Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_PATH)


def load_config(path: Path | None = None) -> Config:
    """Read and check the configuration file; raises ConfigError with the place and the mend."""
    path = path or config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; copy comagic.example.yaml to {DEFAULT_PATH}, or name a file in "
            f"{CONFIG_VARIABLE}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> Config:
    """Check the text of a configuration file; `path` stands at the beginning of every error."""
    try:
        content = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506 - a SafeLoader underneath
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = error.problem
        if isinstance(error, yaml.composer.ComposerError) or "constructor for the tag" in str(problem):
            # YAML's own words show the text, which may be a password.
            problem = "a text that begins with *, & or ! needs quotes"
        raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected the keys warehouse and sources; see comagic.example.yaml")
    content, ignored = _without_planned_keys(content)
    try:
        config = Config.model_validate(content)
    except ValidationError as error:
        # A list of tables that is wrong is, besides, not the word "all": that goes without saying.
        problems = [_problem(details) for details in error.errors() if details["type"] != "literal_error"]
        raise ConfigError(f"{path}: {'; '.join(problems)}") from None
    config._path, config._ignored = path, ignored
    return config


def _without_planned_keys(content: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    ignored = [key for key in PLANNED_KEYS[""] if key in content]
    content = {key: value for key, value in content.items() if key not in PLANNED_KEYS[""]}
    sources = content.get("sources")
    if isinstance(sources, list):
        for index, source in enumerate(sources):
            if isinstance(source, dict):
                ignored += [f"sources[{index}].{key}" for key in PLANNED_KEYS["source"] if key in source]
                sources[index] = {key: value for key, value in source.items() if key not in PLANNED_KEYS["source"]}
    return content, tuple(ignored)


_MENDS = {
    "missing": "is missing",
    "date_from_datetime_parsing": "is no date; write it as YYYY-MM-DD",
    "date_from_datetime_inexact": "is no date; write it as YYYY-MM-DD",
    "date_parsing": "is no date; write it as YYYY-MM-DD",
    "date_type": "is no date; write it as YYYY-MM-DD",
    "int_parsing": "is no whole number",
    "int_type": "is no whole number",
    "string_type": "is no text; put it in quotes",
    "list_type": "is no list",
    "string_too_short": "is empty",
    "too_short": "is empty; name at least one",
    "model_type": "expected keys and values; see comagic.example.yaml",
}


def _problem(details: Any) -> str:
    """One problem in words: the place as it stands in the file, then what is wrong and how to mend it."""
    location = [part for part in details["loc"] if not str(part).startswith(("literal[", "list[", "function-"))]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "sources"
    if details["type"] == "extra_forbidden":
        return f"{place}: unknown key{_nearest(str(location[-1]), _KEYS)}"
    if details["type"] == "string_pattern_mismatch":
        if location[-1] == "views_prefix":
            return f"{place}: use letters, digits, _ and spaces, at most 16, beginning with none of the last"
        return f"{place}: use small letters, digits and _ only, beginning with a letter"
    message = _MENDS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    return f"{place}: {message}"


_KEYS = [key for section in (Config, WarehouseConfig, SchemaNames, Source, DayPoints) for key in section.model_fields]


def _nearest(name: str, names: Any) -> str:
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key may stand once (the second `token:` would silently win) and dates are text, checked later."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - an instance variable to the library's type stubs
        first: [resolver for resolver in resolvers if resolver[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        nodes = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=deep) for key in nodes]
        for key, key_node in zip(keys, nodes, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep=deep)
