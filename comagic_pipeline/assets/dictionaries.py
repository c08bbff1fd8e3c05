"""Raw assets of dictionaries (campaigns, ...): no partitions, replaced whole."""

from datetime import UTC, datetime

from dagster import AssetExecutionContext, AssetsDefinition, MaterializeResult, multi_asset

from comagic_pipeline.api.dictionaries import DictionaryReader
from comagic_pipeline.assets.describe import asset_spec
from comagic_pipeline.assets.journal import journaled
from comagic_pipeline.catalog import Method
from comagic_pipeline.config import SchemaNames, Source
from comagic_pipeline.resources import DataApi, WarehouseResource
from comagic_pipeline.warehouse.load import Account, replace_dictionary
from comagic_pipeline.warehouse.raw import raw_table


def dictionary_asset(source: Source, method: Method, schemas: SchemaNames) -> AssetsDefinition:
    """The asset of a dictionary of a source: one table that every run replaces in one transaction."""

    @multi_asset(
        name=f"{source.name}_{method.table}",
        specs=[asset_spec(source, raw_table(method), "raw", schemas)],
        pool=source.pool,
    )
    def dictionary(
        context: AssetExecutionContext, api: DataApi, warehouse: WarehouseResource
    ) -> MaterializeResult[None]:
        with (
            journaled(context, warehouse.get(), source, method.table) as entry,
            api.client(source.name, reserve=0) as client,
        ):
            reader = DictionaryReader(client, method, source.zone)
            rows, rejected = reader.read()
            entry.rows, entry.points = len(rows), reader.points
            entry.warnings += reader.warnings
            account = Account(source.account_id)
            replace_dictionary(warehouse.get(), method, account, rows, rejected, datetime.now(UTC))
        return MaterializeResult(metadata={"dagster/row_count": entry.rows, "points": entry.points})

    return dictionary
