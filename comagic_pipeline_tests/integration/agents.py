"""An agent with customers for tests: a sandbox, a configured source and the warehouse."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime

from dagster import AssetCheckKey, AssetKey, DagsterInstance, ExecuteInProcessResult

from comagic_pipeline.config import Config
from comagic_pipeline.dagster.checks import equals_api
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.sandbox.server import Sandbox
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.raw_reference import api_rows, differences, query, raw_rows
from comagic_pipeline_tests.integration.runs import failures, run_load

FIRST, LAST = date(2026, 3, 2), date(2026, 3, 6)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass
class Agent:
    """A configured agent, the sandbox that it asks, and the warehouse."""

    config: Config
    sandbox: Sandbox
    warehouse: Warehouse
    instance: DagsterInstance

    @property
    def customers(self) -> dict[int, World]:
        """The accounts of the customers by the id of their user."""
        users = self.sandbox.world.rows("get.customer_users")
        return {user["id"]: self.sandbox.world.customers[user["customer_id"]] for user in users}

    def load(self, *tables: str) -> ExecuteInProcessResult:
        return run_load(self.config, self.instance, FIRST, LAST, *tables)

    def reconcile(self, mode: str, table: str = "calls_report") -> None:
        """Compare the days with the API."""
        key = AssetCheckKey(AssetKey(["main", table]), equals_api.NAME)
        result = (
            build_definitions(self.config)
            .resolve_job_def("reconcile_main")
            .get_subset(asset_selection=set(), asset_check_selection={key})
            .execute_in_process(
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                instance=self.instance,
                tags={RANGE_START: str(FIRST), RANGE_END: str(LAST), equals_api.MODE: mode},
                raise_on_error=False,
            )
        )
        assert result.success, failures(result)

    def owners(self, table: str) -> set[int]:
        """The customers that have rows in a raw table."""
        rows = query(self.warehouse, f"select distinct customer_user_id from comagic_raw.{table}")
        return {row["customer_user_id"] for row in rows}

    def assert_raw(self, table: str, users: set[int]) -> None:
        """A report holds the rows of these customers and no others, each under its own customer."""
        assert self.owners(table) == users, table
        for user in users:
            expected = api_rows(self.customers[user], f"get.{table}", FIRST, LAST)
            assert expected
            assert differences(raw_rows(self.warehouse, table, customer_user_id=user), expected) == [], (table, user)

    def ledger(self, table: str) -> set[tuple[int, date]]:
        """Customers and days of the load ledger."""
        sql = "select customer_user_id, day from comagic_ops.loaded_days where table_name = :table"
        return {(row["customer_user_id"], row["day"]) for row in query(self.warehouse, sql, table=table)}


OpenAgent = Callable[..., Agent]
