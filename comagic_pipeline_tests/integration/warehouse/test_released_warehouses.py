"""A warehouse that a released version made goes on with this one: its rows stay, and its days can be loaded again."""

import hashlib
import lzma
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path

import psycopg
import pytest
from dagster import DagsterInstance
from sqlalchemy import make_url

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.operations.connections import open_warehouse
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse import migrations
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline.warehouse.star import tables as star
from comagic_pipeline_tests.integration.raw_reference import Row, api_rows, query, raw_rows
from comagic_pipeline_tests.integration.raw_reference import differences as row_differences
from comagic_pipeline_tests.integration.runs import failures, run_load
from comagic_pipeline_tests.integration.warehouse.test_migrations import (
    declared_raw_tables,
    differences,
)

DUMPS = {path.name.split(".")[0]: path for path in Path(__file__).parent.glob("released_warehouses/*.sql.xz")}
"""By commit."""
FIRST, LAST = date(2026, 10, 31), date(2026, 11, 1)
REPORTS = """[
    {name: calls_as_json, source: main, report: calls_report, fields: [id, start_time, is_lost]},
    {name: calls_as_table, source: main, report: calls_report, fields: [id, start_time, is_lost], structure: auto},
]"""
RELEASED = {
    "0001_the_ops_and_star_schemas.py": "11e6e1adf9aba71bea07d2609f482b85091b95f9852be59ed01e55c0134b8146",
    "0002_points_and_waiting_days.py": "07c78f3e2aff6e585f3f3f0e816a0b0784d5d5fe3eb263bd7e8f2604aa352741",
    "0003_custom_reports.py": "b7d9811f1289c6e28b999c2d72faf9feb496b8160d35af453a121670515608de",
    "0004_trust.py": "24e0e41a4db7f996e0a1419e533adaab84f4a69d5c999483d3c763fb3d9c317a",
    "0005_repair_of_0001.py": "2cdcbbfa569f0ab9ad4b06883a5e5f0493411a853e9a028a2d38009360221cfb",
    "0006_customers_in_the_star.py": "144c9a8254f26ca57d721898ff769b19842f6fb37ab8a9f37b29838492218e50",
    "0007_doubtful_days.py": "ce06a58630b87b350b1ab48785267ddbcb9d1cb2b7235fbb2d3d0f3bfd92072e",
    "0008_date_till.py": "af672892601593458d0bfb88579ed30332dfee38ef7138b39984276e05a6b356",
}
"""SHA-256 of the revisions that warehouses of people have applied."""


@pytest.mark.parametrize("name", RELEASED)
def test_an_applied_revision_does_not_change(name: str) -> None:
    """Revision 0001 was changed after warehouses had applied it: they could not be opened any more."""
    path = Path(migrations.__file__).parent / "versions" / name
    assert hashlib.sha256(path.read_bytes()).hexdigest() == RELEASED[name], (
        f"{name} is applied in warehouses of people, who never get the change: take it back and write a new revision"
    )


@pytest.mark.parametrize("commit", sorted(DUMPS))
def test_a_released_warehouse_goes_on(
    commit: str, project: Callable[..., Config], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From ebf6685 every command ended with `relation "comagic.comagic_chats_facts" does not exist`."""
    restore(DUMPS[commit], database_url)
    world = World(seed=1, calls_per_day=3, campaigns=2)
    with running_sandbox(world, Settings(minute_limit=10_000)) as sandbox:
        config = project(
            REPORTS, base_url=sandbox.url, token=SANDBOX_TOKEN, tables="[comagic_calls_facts, campaign_daily_stat]"
        )
        monkeypatch.setenv("WAREHOUSE_URL", database_url)
        with Warehouse(database_url) as old:
            before = rows_by_table(old)
        with open_warehouse(config) as warehouse:
            assert before["comagic.comagic_calls_facts"]
            assert losses(before, rows_by_table(warehouse)) == {}
            assert differences(warehouse, ops.metadata.sorted_tables, "ops") == []
            assert differences(warehouse, star.metadata.sorted_tables, "star") == []
            assert differences(warehouse, declared_raw_tables(), "raw") == []
            load_again(config)
            calls = api_rows(world, "get.calls_report", FIRST, LAST)
            assert row_differences(raw_rows(warehouse, "calls_report"), calls) == []
            loaded = rows_by_table(warehouse)
            # The same calls: their facts keep what they had, ids included.
            facts = {name: before[name] for name in before if name.startswith("comagic.comagic_calls")}
            assert losses(facts, loaded) == {}
            assert len(loaded["comagic.comagic_calls_facts"]) == len(calls)
            assert len(loaded["comagic.comagic_reports"]) == len(calls)
            waiting = query(warehouse, "select table_name, day from comagic_ops.waiting_days")
            assert waiting == []


def test_days_that_lack_new_columns_are_built_again(
    database_url: str, project: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tags of a warehouse of ebf6685 have no details: its days wait to be built from raw, which costs no points."""
    restore(DUMPS["ebf6685"], database_url)
    config = project(base_url="sandbox", token="t")
    monkeypatch.setenv("WAREHOUSE_URL", database_url)
    with open_warehouse(config) as warehouse:
        waiting = query(warehouse, "select table_name, day from comagic_ops.waiting_days order by day")
    assert waiting == [{"table_name": "comagic_calls_facts", "day": day} for day in (FIRST, LAST)]


def load_again(config: Config) -> None:
    """All days of the dump, the custom reports too."""
    with DagsterInstance.ephemeral() as instance:
        result = run_load(config, instance, FIRST, LAST)
        assert result.success, failures(result)
        for report in ("calls_as_json", "calls_as_table"):
            job = build_definitions(config).resolve_job_def(f"report_main__{report}")
            span = {RANGE_START: str(FIRST), RANGE_END: str(LAST)}
            assert job.execute_in_process(instance=instance, tags=span).success


def restore(dump: Path, url: str) -> None:
    """Make the empty database what the dump says."""
    with psycopg.connect(make_url(url).set(drivername="postgresql").render_as_string(False)) as connection:
        connection.execute(lzma.decompress(dump.read_bytes()))


def rows_by_table(warehouse: Warehouse) -> dict[str, list[Row]]:
    """All rows of raw and star."""
    names = query(
        warehouse,
        "select schemaname || '.' || tablename as name from pg_tables"
        " where schemaname in ('comagic_raw', 'comagic') and tablename !~ '_20[0-9]{2}_[0-9]{2}$'",
    )
    return {row["name"]: query(warehouse, f"select * from {row['name']}") for row in names}


def losses(before: dict[str, list[Row]], after: dict[str, list[Row]]) -> dict[str, int]:
    """The number of rows of each table that are not there any more with the values they had."""
    lost = {}
    for name, rows in before.items():
        columns = rows[0].keys() if rows else ()
        kept = Counter(repr([row[column] for column in columns]) for row in after[name])
        lost[name] = (Counter(repr([row[column] for column in columns]) for row in rows) - kept).total()
    return {name: count for name, count in lost.items() if count}
