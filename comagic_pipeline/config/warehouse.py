"""The section `warehouse`: the database and the names of its schemas."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from comagic_pipeline.catalog.table_names import DEFAULT_VIEWS_PREFIX
from comagic_pipeline.config.values import Section, Setting


def _schema_name(name: str) -> str:
    if name.startswith("pg_") or name in ("information_schema", "public"):
        raise ValueError(f"{name!r} belongs to PostgreSQL; choose another name")
    return name


_SchemaName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$"), AfterValidator(_schema_name)]


class SchemaNames(Section):
    """Where the three layers live in the warehouse's database."""

    raw: _SchemaName = Field(default="comagic_raw", description="Schema of the tables as the API gives them.")
    star: _SchemaName = Field(default="comagic", description="Schema of facts, dimensions and marts.")
    ops: _SchemaName = Field(default="comagic_ops", description="Schema of the pipeline's own books.")

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if len({self.raw, self.star, self.ops}) < 3:
            raise ValueError("raw, star and ops need a schema each")
        return self


class WarehouseConfig(Section):
    """The database: a PostgreSQL URL, or none for the embedded server."""

    url: Setting | None = Field(
        default=None,
        description="Address of a PostgreSQL, 14 or newer; without it the project runs a PostgreSQL of its own.",
    )
    schemas: SchemaNames = SchemaNames()
    views_prefix: Annotated[str, StringConstraints(pattern=r"^\w[\w ]{0,15}$")] = Field(
        default=DEFAULT_VIEWS_PREFIX,
        description="First word of the names of the Russian views: letters, digits, _ and spaces, at most 16.",
    )
