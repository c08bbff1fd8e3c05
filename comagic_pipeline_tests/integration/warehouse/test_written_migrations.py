"""`make migration`: a column that is declared gets a migration that adds it, in schemas of any names."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import comagic_pipeline
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline_tests.integration.raw_reference import query

DECLARED = '    column("domain", String(64), "Доменное имя", "site_domain_name", nullable=True),\n'
ADDED = '    column("owner", String(64), "Владелец", "Who owns \\"it\\"", nullable=True),\n'
UPGRADE = """
import sys
from comagic_pipeline.warehouse.engine import Schemas, Warehouse
from comagic_pipeline.warehouse.migrations import upgrade
with Warehouse(sys.argv[1], Schemas(raw="r", star="select", ops="o")) as warehouse:
    upgrade(warehouse, ())
"""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the package that lies in a folder."""
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True)


def test_a_declared_column_gets_its_migration(tmp_path: Path, database_url: str) -> None:
    """`op.add_column(..., schema="star")` failed in every warehouse, for it took the placeholder for the schema."""
    package = tmp_path / "comagic_pipeline"
    shutil.copytree(Path(comagic_pipeline.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    write = ("-m", "comagic_pipeline.warehouse.migrations.write", "owner_of_a_site")
    unchanged = run(tmp_path, *write)
    assert (unchanged.returncode, unchanged.stderr.count("change a declaration first")) == (1, 1), unchanged.stderr
    shared = package / "warehouse" / "star" / "shared" / "__init__.py"
    text = shared.read_text(encoding="utf-8")
    assert text.count(DECLARED) == 1
    shared.write_text(text.replace(DECLARED, DECLARED + ADDED), encoding="utf-8")
    written = run(tmp_path, *write)
    assert written.returncode == 0, written.stderr
    assert written.stdout.splitlines()[-1].endswith("_owner_of_a_site.py")
    upgraded = run(tmp_path, "-c", UPGRADE, database_url)
    assert upgraded.returncode == 0, upgraded.stderr
    with Warehouse(database_url, Schemas(raw="r", star="select", ops="o")) as warehouse:
        (column,) = query(
            warehouse,
            """select data_type, character_maximum_length as length, is_nullable,
            col_description('"select".general_sites'::regclass, ordinal_position) as comment
            from information_schema.columns where table_schema = 'select' and column_name = 'owner'""",
        )
    assert column == {
        "data_type": "character varying",
        "length": 64,
        "is_nullable": "YES",
        "comment": 'Who owns "it"',
    }
