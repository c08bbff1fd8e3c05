"""Put names into the `.sql` files, as `{name}`. Values are bound, never put in."""

import re
from collections.abc import Mapping
from dataclasses import asdict

from comagic_pipeline.warehouse.engine import Schemas
from comagic_pipeline.warehouse.star.kind import Kind

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


def fill(sql: str, names: Mapping[str, str]) -> str:
    """Return SQL with its placeholders replaced, also in what is put in; raises KeyError for one without a name."""
    while _PLACEHOLDER.search(sql):
        sql = _PLACEHOLDER.sub(lambda match: names[match[1]], sql)
    return sql


def is_filled_by(sql: str, names: Mapping[str, str]) -> bool:
    """Return whether every placeholder has a name."""
    return set(_PLACEHOLDER.findall(sql)) <= names.keys()


def names_of_schemas(schemas: Schemas) -> dict[str, str]:
    """`{raw}`, `{star}` and `{ops}`, quoted."""
    return {place: quoted(name) for place, name in asdict(schemas).items()}


def quoted(*names: str) -> str:
    """Return a quoted name, of its parts: schema and table. SQLAlchemy's own quoting doubles percent signs."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def names_of_kind(kind: Kind) -> dict[str, str]:
    """Return what the files call the tables of a kind and its columns; each child by its array, as in `{tags}`."""
    return {
        "kind": kind.name,
        "report": kind.report,
        "dimension": kind.dimension.name,
        "key": kind.key,
        "owner": kind.owner,
        "facts": kind.facts.name,
        **{kind.array(child): child.name for child in kind.children},
    }
