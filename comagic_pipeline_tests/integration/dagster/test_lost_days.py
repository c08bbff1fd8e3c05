"""Days that Dagster shows and the warehouse does not have: after a dump was restored, or the warehouse moved."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from dagster import AssetKey, AssetMaterialization, DagsterInstance, DagsterRunStatus
from sqlalchemy import insert, text

from comagic_pipeline.cli.doctor import Finding, examine
from comagic_pipeline.config import Config
from comagic_pipeline.dagster.automation.lost_days import LostDays, lost_days, take_back_days
from comagic_pipeline.dagster.automation.recovery import recover
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.dagster.runs import RANGE_END, RANGE_START
from comagic_pipeline.dagster.wipe_partitions import newest_event
from comagic_pipeline.definitions import build_definitions
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import tables as ops
from comagic_pipeline_tests.integration.runs import materialized

CALLS, FACTS = "calls_report", "comagic_calls_facts"


def day(number: int) -> date:
    """A day of January 2026."""
    return date(2026, 1, number)


@pytest.fixture
def config(project: Callable[..., Config]) -> Config:
    """A source of calls and their star."""
    return project(base_url="sandbox", token="x")


@pytest.fixture
def instance(config: Config) -> Iterator[DagsterInstance]:
    """The Dagster instance as the commands open it."""
    with open_instance(config) as instance:
        yield instance


def show(instance: DagsterInstance, table: str, *numbers: int) -> None:
    """Dagster shows days of a table."""
    for number in numbers:
        instance.report_runless_asset_event(
            AssetMaterialization(AssetKey(["main", table]), partition=day(number).isoformat())
        )


def hold(warehouse: Warehouse, *numbers: int, customer: int = 0) -> None:
    """The ledger has days of calls."""
    values: dict[str, Any] = {"account_id": 1, "customer_user_id": customer, "table_name": CALLS, "run_id": "run"}
    values |= {"points": Decimal(1), "seconds": 1.5, "loaded_at": datetime(2026, 2, 1, tzinfo=UTC), "rows": 1}
    with warehouse.begin() as connection:
        for number in numbers:
            connection.execute(insert(ops.loaded_days).values(values | {"day": day(number)}))


def test_days_of_another_warehouse_are_missing_again(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Dagster went on to show days of reports and star that a restored dump does not have: "missing" offered none."""
    for table in (CALLS, FACTS):
        show(instance, table, 1, 2, 3, 4)
    hold(warehouse, 1, 2)
    recover(config, instance, warehouse)
    for table in (CALLS, FACTS):
        assert materialized(instance, table) == {day(1), day(2)}
        event = instance.get_latest_materialization_event(AssetKey(["main", table]))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.partition == "2026-01-02"
    assert lost_days(config, instance, warehouse) == []


def test_an_empty_warehouse_has_none_of_the_days(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """All go; what is loaded later is shown."""
    show(instance, CALLS, 1, 2)
    recover(config, instance, warehouse)
    assert materialized(instance, CALLS) == set()
    assert instance.get_latest_materialization_event(AssetKey(["main", CALLS])) is None
    hold(warehouse, 2)
    recover(config, instance, warehouse)
    assert materialized(instance, CALLS) == {day(2)}


def test_what_an_unfinished_run_is_to_load_is_left_to_it(
    config: Config, instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """Its days, and no others; of the star too."""
    for table in (CALLS, FACTS):
        show(instance, table, 1, 2, 3)
    job = build_definitions(config).resolve_job_def("load_main")
    tags = {RANGE_START: str(day(2)), RANGE_END: str(day(3))}
    run = instance.create_run_for_job(job_def=job, status=DagsterRunStatus.STARTED, tags=tags)
    take_back_days(config, instance, warehouse)
    assert materialized(instance, CALLS) == materialized(instance, FACTS) == {day(2), day(3)}
    instance.report_run_canceled(run)
    take_back_days(config, instance, warehouse)
    assert materialized(instance, CALLS) == materialized(instance, FACTS) == set()


def test_what_is_reported_meanwhile_stays(
    config: Config, instance: DagsterInstance, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that ends between the look at the ledger and the deletion has its days shown."""
    show(instance, CALLS, 1, 2)

    def late(*_: Any) -> list[LostDays]:
        found = lost_days(config, instance, warehouse)
        show(instance, CALLS, 2)
        return found

    monkeypatch.setattr("comagic_pipeline.dagster.automation.lost_days.lost_days", late)
    take_back_days(config, instance, warehouse)
    assert materialized(instance, CALLS) == {day(2)}


def test_days_that_are_right_as_they_are(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """Of a report that the account may not ask for; of the star whose raw days retention has deleted."""
    for table in (CALLS, FACTS):
        show(instance, table, 1, 2, 3)
    with warehouse.begin() as connection:
        connection.execute(
            text("insert into comagic_ops.retained_from values (1, 'raw', '2026-01-03', now())"),
        )
    take_back_days(config, instance, warehouse)
    assert (materialized(instance, CALLS), materialized(instance, FACTS)) == (set(), {day(1), day(2)})
    show(instance, CALLS, 1)
    with warehouse.begin() as connection:
        ops.record(connection, account_id=1, run_id="run", event="skipped", table_name=CALLS)
    take_back_days(config, instance, warehouse)
    assert materialized(instance, CALLS) == {day(1)}


def test_days_of_some_customers_stay(
    project: Callable[..., Config], instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """A new customer of an agent, who has none of the old days, does not make them vanish."""
    agent = project(base_url="https://dataapi.comagic.ru/v2.0", token="x", user_ids="[7, 8]")
    show(instance, CALLS, 1, 2)
    hold(warehouse, 1, customer=7)
    take_back_days(agent, instance, warehouse)
    assert materialized(instance, CALLS) == {day(1)}


def test_doctor_names_the_days(config: Config, instance: DagsterInstance, warehouse: Warehouse) -> None:
    """It was content. It only names them, with the command that takes them back."""
    show(instance, CALLS, 1, 2, 3)
    hold(warehouse, 1)
    findings: list[Finding] = []
    examine(config, findings.append)
    (found,) = [finding for finding in findings if finding.check == "instance"]
    assert not found.ok
    assert "main/calls_report 2026-01-02 to 2026-01-03 (2)" in found.text
    assert "comagic-pipeline up" in found.text
    assert materialized(instance, CALLS) == {day(1), day(2), day(3)}


def test_a_look_at_many_days_is_quick(
    project: Callable[..., Config], instance: DagsterInstance, warehouse: Warehouse
) -> None:
    """All tables of a source, two years each: some seconds at most, though the machine is busy."""
    config = project(base_url="sandbox", token="x", start_date="2024-01-01", tables="all")
    show(instance, CALLS, 1)
    before = newest_event(instance)
    source = config.sources[0]
    with warehouse.begin() as connection:
        for table in sorted({*source.reports, *source.chosen_tables}):
            connection.execute(
                text(
                    "insert into public.event_logs "
                    "(run_id, event, dagster_event_type, timestamp, asset_key, partition) "
                    "select run_id, event, dagster_event_type, timestamp, :key, "
                    "to_char(date '2024-01-01' + day, 'YYYY-MM-DD') "
                    "from public.event_logs, generate_series(0, 729) as day where id = :id"
                ),
                {"key": AssetKey(["main", table]).to_string(), "id": before},
            )
        connection.execute(
            text(
                "insert into comagic_ops.loaded_days (account_id, customer_user_id, table_name, day, rows, points, "
                "seconds, run_id, loaded_at) select 1, 0, name, date '2024-01-01' + day, 1, 1, 1, 'run', now() from "
                "unnest(cast(:names as text[])) as name, generate_series(0, 728) as day"
            ),
            {"names": sorted(source.reports)},
        )
    started = time.monotonic()
    lost = lost_days(config, instance, warehouse)
    assert time.monotonic() - started < 10
    days = {str(date(2024, 1, 1) + timedelta(days=729))}
    assert {each.key.path[-1]: {*each.days} - {"2026-01-01"} for each in lost}[CALLS] == days
    print(f"{time.monotonic() - started:.2f} s for {len(lost)} assets")
