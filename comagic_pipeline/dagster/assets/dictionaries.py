"""Assets of dictionaries (campaigns, tags, employees): no partitions, replaced whole, with history."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, multi_asset

from comagic_pipeline.api.readers.dictionaries import DictionaryReader
from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog.table_names import needed_by
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.dagster.assets.describe import asset_spec
from comagic_pipeline.dagster.loads.customers import Customers
from comagic_pipeline.dagster.loads.journal import SKIPPED, journaled
from comagic_pipeline.dagster.loads.protection import LoadConfig, protection
from comagic_pipeline.dagster.resources import DataApi, WarehouseResource
from comagic_pipeline.dagster.runs import table_step
from comagic_pipeline.warehouse.load import replace_dictionary
from comagic_pipeline.warehouse.losses import LossRefusedError
from comagic_pipeline.warehouse.raw.tables import raw_table
from comagic_pipeline.warehouse.target import Account


def dictionary_asset(source: Source, method: Method, schemas: SchemaNames) -> AssetsDefinition:
    """Return the asset of a dictionary of a source: one table that every run replaces in one transaction."""

    @multi_asset(
        name=table_step(source, method.table),
        specs=[
            asset_spec(source, raw_table(method), "raw", schemas, needed_by(method.table, is_agent=source.is_agent))
        ],
        pool=source.pool,
    )
    def dictionary(
        context: AssetExecutionContext, config: LoadConfig, api: DataApi, warehouse: WarehouseResource
    ) -> MaterializeResult[None]:
        shield = protection(source, context.run, config)
        with (
            journaled(context, warehouse.get(), source, method.table) as entry,
            api.client(source.name, 0, warehouse.get(), context.run) as client,
        ):

            def load(account: Account, params: Mapping[str, Any]) -> None:
                reader = DictionaryReader(client, method, source.zone, params)
                try:
                    rows, rejected = reader.read()
                finally:
                    entry.points += reader.points
                    entry.warnings += reader.warnings
                now = datetime.now(UTC)
                place = (warehouse.get(), method, account)
                try:
                    loaded = replace_dictionary(*place, rows, rejected, now, shield, context.run.run_id)
                except LossRefusedError as error:
                    entry.refused.append(error.refusal)
                    entry.rows += error.refusal.rows
                else:
                    entry.rows += loaded.rows
                    entry.changes += loaded.changes
                    if loaded.refused:
                        # No check looks at what was rejected of a dictionary.
                        entry.warnings.append(
                            f"{method.table}: {loaded.refused} rows could not be stored (comagic_ops.rejected_rows)"
                        )

            Customers(source, method, client, warehouse.get(), entry).load_each(load, lambda _: None)
        metadata: dict[str, Any] = {"dagster/row_count": entry.rows, "points": entry.points}
        return MaterializeResult(metadata=metadata | ({SKIPPED: entry.skipped} if entry.skipped else {}))

    return dictionary
