"""Write a migration: `make migration NAME=what_it_does`, after the declaration of a table was changed.

It compares the declared tables with an empty warehouse of the latest revision, in a PostgreSQL that is made for it and
removed. Read what it writes: it cannot know that a column was renamed, and it moves no rows.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops as operations
from alembic.script import Script
from sqlalchemy.dialects import postgresql

from comagic_pipeline.warehouse.embedded import EmbeddedServer, stop
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline.warehouse.migrations import alembic_config, newest_revision, upgrade

_PLACEHOLDERS = Schemas(raw="raw", star="star", ops="ops")
"""The schemas have the names under which tables are declared, so that Alembic can compare them."""
_MARKER = "    # ###"
"""The beginning of the two lines that Alembic puts around what it writes."""
_HELPERS = "from comagic_pipeline.warehouse.migrations.columns import "


@renderers.dispatch_for(operations.AddColumnOp, replace=True)
def _add_column(context: AutogenContext, change: operations.AddColumnOp) -> str:
    """Render the addition of a column with our helper, because Alembic's own takes placeholders for real schemas."""
    context.imports.add(f"{_HELPERS}add_column")
    kind = change.column.type.compile(dialect=postgresql.dialect())  # type: ignore[no-untyped-call]
    words = (change.table_name, change.column.name, kind.lower(), change.column.comment or "")
    return f"add_column({', '.join(map(_text, words))}, schema={_text(str(change.schema))})"


@renderers.dispatch_for(operations.AlterColumnOp, replace=True)
def _describe_column(context: AutogenContext, change: operations.AlterColumnOp) -> str:
    """Render a changed comment with our helper; another change of a column is left to the author."""
    if change.modify_comment is False:
        return f"# Alembic sees another change of {change.table_name}.{change.column_name}: write it as SQL"
    context.imports.add(f"{_HELPERS}describe_column")
    words = (change.table_name, change.column_name, change.modify_comment or "")
    return f"describe_column({', '.join(map(_text, words))}, schema={_text(str(change.schema))})"


def write_migration(name: str) -> Path:
    """Write the revision that makes the latest one equal to the declared tables, and return its path.

    Raises ValueError when no declaration has changed.
    """
    with tempfile.TemporaryDirectory(prefix="comagic-migration-") as place:
        # As root the server runs as another user, who has to get in.
        Path(place).chmod(0o755)
        with EmbeddedServer(Path(place)) as server:
            server.ensure_database("migration")
            with Warehouse(server.url("migration"), _PLACEHOLDERS) as warehouse:
                upgrade(warehouse, ())
                path = _compare(warehouse, name)
        stop(Path(place))
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(_MARKER)), encoding="utf-8")
    return path


def _compare(warehouse: Warehouse, name: str) -> Path:
    def refuse_empty(_context: Any, _revision: Any, scripts: list[operations.MigrationScript]) -> None:
        if scripts[0].upgrade_ops is None or scripts[0].upgrade_ops.is_empty():
            raise ValueError("the declared tables are those of the latest revision: change a declaration first")

    with warehouse.begin() as connection:
        config = alembic_config(connection, warehouse)
        config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
        script = command.revision(
            config,
            message=name.replace("_", " "),
            rev_id=f"{int(newest_revision()) + 1:04}",
            autogenerate=True,
            process_revision_directives=refuse_empty,
        )
    assert isinstance(script, Script)  # noqa: S101 - one revision, one script
    return Path(script.path)


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{write_migration(sys.argv[1])}\n")
    except ValueError as error:
        sys.exit(f"Error: {error}")
