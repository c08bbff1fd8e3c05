"""How long old days take to go: whole months of a large raw table as partitions, a part of a month row by row.

    .venv/bin/python benchmarks/retention.py [--rows 10000000] [--runs 3]

Fills the table of calls, few of its columns, over 24 months into an embedded server in a temporary folder, so many rows
a day, and then lets the horizon advance: through whole months, then by half a month. Seconds are printed, medians where
there are several. It reports, it tests nothing.
"""

import argparse
import statistics
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from dateutil.relativedelta import relativedelta
from sqlalchemy import text

from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.warehouse.embedded import EmbeddedServer, stop
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.retention.days import count_outdated, delete_outdated

FIRST_DAY, MONTHS = date(2024, 1, 1), 24
LAST_DAY = FIRST_DAY + relativedelta(months=MONTHS) - timedelta(days=1)
FILL = """
insert into comagic_raw.calls_report (account_id, id, event_date, start_time, source, finish_reason, loaded_at)
select 1, number, day, day + interval '1 second' * (number % 86400), 'callapi', repeat('reason ', 10), now()
  from (select number, cast(:first_day as date) + cast(number * :days / :rows as int) as day
          from generate_series(cast(:begin as bigint), cast(:end as bigint) - 1) as number) as made
"""


def fill(warehouse: Warehouse, rows: int) -> None:
    """Rows spread evenly over all days, a commit for each tenth."""
    with warehouse.begin() as connection:
        ensure_months(connection, warehouse.schemas.raw, "calls_report", FIRST_DAY, LAST_DAY)
    days = (LAST_DAY - FIRST_DAY).days + 1
    for part in range(10):
        values = {"begin": rows * part // 10, "end": rows * (part + 1) // 10}
        with warehouse.begin() as connection:
            connection.execute(text(FILL), values | {"first_day": FIRST_DAY, "days": days, "rows": rows})


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=int, default=10_000_000)
    arguments.add_argument("--runs", type=int, default=3, help="whole and partial months that are measured")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="comagic-benchmark-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedServer(Path(folder)) as server:
            server.ensure_database("warehouse")
            with Warehouse(server.url("warehouse")) as warehouse:
                upgrade(warehouse, REPORTS)
                started = time.monotonic()
                fill(warehouse, options.rows)
                print(f"{options.rows} rows over {MONTHS} months, filled in {time.monotonic() - started:.0f} s")
                measure(warehouse, options.runs)
        stop(Path(folder))


def measure(warehouse: Warehouse, runs: int) -> None:
    """Half a month, and then the rest of it with half of the next, so often; then all that is left but a month."""
    horizon = FIRST_DAY
    whole, partial = [], []
    for _ in range(runs):
        for step, seconds in ((relativedelta(months=1), whole), (relativedelta(days=14), partial)):
            horizon += step
            started = time.monotonic()
            gone = sum(month.total for month in delete_outdated(warehouse, 1, "raw", horizon))
            seconds.append(time.monotonic() - started)
            print(f"up to {horizon}: {gone} rows in {seconds[-1]:.3f} s")
        horizon = horizon.replace(day=1) + relativedelta(months=1)
        sum(month.total for month in delete_outdated(warehouse, 1, "raw", horizon))
    print(f"a whole month: median {statistics.median(whole):.3f} s; 14 days: median {statistics.median(partial):.3f} s")
    horizon = LAST_DAY.replace(day=1)
    started = time.monotonic()
    counted = sum(month.total for month in count_outdated(warehouse, 1, "raw", horizon))
    print(f"dry run of all that is left but the last month: {counted} rows in {time.monotonic() - started:.3f} s")
    started = time.monotonic()
    months = list(delete_outdated(warehouse, 1, "raw", horizon))
    gone, dropped = sum(month.total for month in months), sum(len(month.dropped) for month in months)
    print(f"deleted: {gone} rows, {dropped} partitions, in {time.monotonic() - started:.3f} s")


if __name__ == "__main__":
    main()
