"""How long the star of calls takes to build: a month of calls at first, the same again, and after changes.

    .venv/bin/python benchmarks/star.py [--calls 100000] [--runs 3]

Makes up calls of one account in an embedded server in a temporary folder: tags, flags, employees, and values of the
shared dimensions in numbers like those of real accounts. Each run has a database of its own. Seconds are printed,
medians at the end. It reports, it tests nothing.
"""

import argparse
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

from sqlalchemy import text

from comagic_pipeline.catalog import tables
from comagic_pipeline.warehouse.embedded import EmbeddedServer, stop
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.migrations import upgrade
from comagic_pipeline.warehouse.monthly_partitions import ensure_months
from comagic_pipeline.warehouse.star.build import Account, build
from comagic_pipeline.warehouse.star.kinds.calls import KIND

MONTH = (date(2026, 1, 1), date(2026, 1, 31))
ACCOUNT = Account(1, "main")
FILL = """
insert into comagic_raw.calls_report (
    account_id, id, event_date, start_time, loaded_at, source, finish_reason, direction, is_lost, contact_phone_number,
    wait_duration, talk_duration, total_duration, ua_client_id, visitor_country, visitor_city, utm_source, utm_medium,
    utm_campaign, entrance_page, site_domain_name, campaign_id, campaign_name, tags, attributes, employees
)
select 1, number, moment::date, moment, timestamptz '2026-02-01', 'callapi', 'operator_disconnects', 'in',
       number % 5 = 0, '7900' || number % 70000, number % 60, number % 600, number % 700, 'client ' || number % 60000,
       'Россия', 'Город ' || number % 80, 'source ' || number % 20, 'medium ' || number % 5,
       'campaign ' || number % 50, 'https://shop.example/' || number % 400, 'shop.example', number % 30,
       'Кампания ' || number % 30,
       jsonb_build_array(
           jsonb_build_object('tag_id', number % 7, 'tag_name', 'Тег', 'tag_type', 'auto'),
           jsonb_build_object('tag_id', 10 + number % 3, 'tag_name', 'Ещё', 'tag_type', 'manual')
       ),
       jsonb_build_array('first', 'target'),
       jsonb_build_array(
           jsonb_build_object('employee_id', number % 40, 'employee_full_name', 'Анна', 'is_answered', true)
       )
  from (
      select number, timestamp '2026-01-01' + interval '31 days' * (number::float / (:calls + 1)) as moment
        from generate_series(1, :calls) as number
  ) as made
"""
CHANGE = "update comagic_raw.calls_report set talk_duration = talk_duration + 1 where id % 10 = 0"


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--calls", type=int, default=100_000)
    arguments.add_argument("--runs", type=int, default=3)
    options = arguments.parse_args()
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="comagic-benchmark-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedServer(Path(folder)) as server:
            for number in range(options.runs):
                server.ensure_database(f"run_{number}")
                with Warehouse(server.url(f"run_{number}")) as warehouse:
                    for what, took in measure(warehouse, options.calls):
                        print(f"{what}: {took:.2f} s", flush=True)
                        seconds.setdefault(what, []).append(took)
        stop(Path(folder))
    for what, all_of_them in seconds.items():
        print(f"{what}, median of {options.runs}: {statistics.median(all_of_them):.2f} s")


def measure(warehouse: Warehouse, calls: int) -> list[tuple[str, float]]:
    """The seconds of the first build, of one that changes nothing, and of one after a tenth of the calls changed."""
    upgrade(warehouse, [tables()["calls_report"], tables()["campaigns"]])
    with warehouse.begin() as connection:
        ensure_months(connection, warehouse.schemas.raw, "calls_report", *MONTH)
        connection.execute(text(FILL), {"calls": calls})
        connection.execute(text("analyze comagic_raw.calls_report"))
    found = []
    for what in ("first build", "nothing changed", "a tenth changed"):
        with warehouse.begin() as connection:
            if what == "a tenth changed":
                connection.execute(text(CHANGE))
            started = time.monotonic()
            build(connection, warehouse.schemas, ACCOUNT, KIND, *MONTH)
            found.append((what, time.monotonic() - started))
    return found


if __name__ == "__main__":
    main()
