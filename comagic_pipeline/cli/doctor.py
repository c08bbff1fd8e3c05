"""`doctor`: check the set-up and say how to fix it, before a load fails."""

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from comagic_pipeline.api.client import Answer, Client
from comagic_pipeline.api.errors import (
    ComagicError,
    DayPointsSpentError,
    MethodUnavailableError,
    RequestRefusedError,
)
from comagic_pipeline.api.quota import effective_reserve
from comagic_pipeline.api.readers.dictionaries import DictionaryReader
from comagic_pipeline.catalog import tables
from comagic_pipeline.cli.services import sandbox_api
from comagic_pipeline.config import Config, ConfigError, Source, load_config
from comagic_pipeline.config.calendar import today
from comagic_pipeline.core.disks import full_message, full_place
from comagic_pipeline.core.printable import printable
from comagic_pipeline.dagster.automation.lost_days import lost_days, told
from comagic_pipeline.dagster.instance import open_instance
from comagic_pipeline.operations.api_client import api_url, open_client
from comagic_pipeline.operations.connections import embedded_folder, open_warehouse
from comagic_pipeline.operations.customers import params_of, user_ids
from comagic_pipeline.operations.notifier import Post
from comagic_pipeline.warehouse.embedded import EmbeddedServer, EmbeddedServerError
from comagic_pipeline.warehouse.engine import WarehouseError, one_line
from comagic_pipeline.warehouse.requirements import missing_requirements
from comagic_pipeline.warehouse.target import Account

MOST_CUSTOMERS = 10
"""How many of an agent's customers are asked for: each costs a point, and no method lists the time zones of all."""
_ATTEMPTS = 2  # who waits at a terminal hears within seconds that nobody answers


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, and what was found; when not `ok`, `text` says what to mend."""

    check: str
    ok: bool
    text: str


def examine(config: Config, report: Callable[[Finding], None]) -> bool:
    """Check config, warehouse, instance and each source's key, address and points; true when all is well.

    Costs one point for each source (get.account); for that of an agent one for each customer, `MOST_CUSTOMERS` at most,
    and one for the list of them. Findings are reported as they come.
    """
    report_all = [Finding("config", True, f"{config.path}: {len(config.sources)} source(s)")]
    report(report_all[0])
    for check in (_disk, _warehouse, _instance):
        for finding in check(config):
            report_all.append(finding)
            report(finding)
    for source in config.sources:
        for finding in _source(config, source):
            report_all.append(finding)
            report(finding)
    return all(finding.ok for finding in report_all)


def tell(config: Config) -> Iterator[Finding]:
    """Send a test message to each address of alerts.urls."""
    try:
        post = Post(config)
    except ConfigError as error:
        yield Finding("alerts", False, str(error))
        return
    if not config.alerts.urls:
        yield Finding("alerts", False, "nobody is told: name addresses in alerts.urls")
    for address, is_taken in post.test():
        said = "took a test message" if is_taken else "did not take a test message: check it in alerts.urls"
        yield Finding("alerts", is_taken, f"{address} {said}")


def _disk(config: Config) -> Iterator[Finding]:
    """Find a disk that is full, or nearly: a server in use there may not have noticed yet."""
    if full := full_place([config.state_folder, EmbeddedServer(embedded_folder(config)).data_folder]):
        yield Finding("disk", False, full_message(full))


def _warehouse(config: Config) -> Iterator[Finding]:
    try:
        with open_warehouse(config) as warehouse:
            kind = "embedded " if config.warehouse.url is None else ""
            yield Finding("warehouse", True, f"{kind}{warehouse.check()}, all migrations applied")
            for problem in missing_requirements(warehouse):
                yield Finding("warehouse", False, problem)
    except (ConfigError, WarehouseError, EmbeddedServerError) as error:
        yield Finding("warehouse", False, one_line(error))


def _instance(config: Config) -> Iterator[Finding]:
    try:
        with open_instance(config) as instance:
            with suppress(ConfigError, WarehouseError, EmbeddedServerError), open_warehouse(config) as warehouse:
                if lost := lost_days(config, instance, warehouse):
                    fix = "`comagic-pipeline up`, or the next load, lets it show them as missing"
                    yield Finding(
                        "instance", False, f"Dagster shows days that the warehouse lacks: {told(lost)}; {fix}"
                    )
                    return
            yield Finding("instance", True, f"storage is reachable, {instance.get_runs_count()} runs so far")
    except (ConfigError, WarehouseError, EmbeddedServerError) as error:
        yield Finding("instance", False, one_line(error))


def _source(config: Config, source: Source) -> list[Finding]:
    name = f"source {source.name}"
    along = source.tables_that_come_along
    needed = f"; not chosen but needed by them: {', '.join(along)}" if along else ""
    tables = Finding(name, True, f"{len(source.chosen_tables)} tables{needed}")
    return [tables, *_first_day(name, source), *_account(config, name, source)]


def _first_day(name: str, source: Source) -> Iterator[Finding]:
    now = today(source, datetime.now(UTC))
    if source.start_date > now:
        text = f"start_date {source.start_date} is in the future: no days can be loaded; set it to {now} or earlier"
        yield Finding(name, False, text)


def _account(config: Config, name: str, source: Source) -> list[Finding]:
    try:
        with ExitStack() as stack:
            warehouse = None
            # What is wrong with the warehouse was found already.
            with suppress(ConfigError, WarehouseError, EmbeddedServerError):
                warehouse = stack.enter_context(open_warehouse(config))
            client = stack.enter_context(open_client(source, warehouse, attempts=_ATTEMPTS, insists=True))
            return _customers(client, name, source) if source.is_agent else _own_account(client, name, source)
    except DayPointsSpentError as error:
        return [Finding(name, True, f"the key works; {error}")]
    except (ConfigError, ComagicError) as error:
        return [Finding(name, False, one_line(error))]


def _own_account(client: Client, name: str, source: Source) -> list[Finding]:
    """Check the account of a key that is no agent's."""
    answer = client.call("get.account")
    account = _row(answer)
    findings = [
        Finding(name, True, f"the key works at {api_url(source)}: account {printable(str(account.get('name')))}")
    ]
    zone = printable(str(account.get("timezone") or ""))
    if zone and zone != source.timezone:
        mend = f"the account's time zone is {zone}, the config says {source.timezone}: set timezone: {zone}"
        findings.append(Finding(name, False, mend))
    return findings + _points(name, source, answer)


def _customers(client: Client, name: str, source: Source) -> list[Finding]:
    """Check the accounts of an agent's customers, on behalf of whom each is asked for: the first `MOST_CUSTOMERS`."""
    users = _customer_users(client, source)
    customers = user_ids(source, lambda: users)
    if not customers:
        none = "user_ids: all, but get.customer_users lists no customers: give the agent's user the right to them"
        return [Finding(name, False, none)]
    asked, refused, zones = customers[:MOST_CUSTOMERS], [], defaultdict[str, list[int]](list)
    answer = None
    for customer in asked:
        try:
            answer = client.call("get.account", params_of(Account(source.account_id, customer)))
        except (MethodUnavailableError, RequestRefusedError) as error:
            refused.append(
                Finding(name, False, f"customer {customer}: {one_line(error)}, or name the others in user_ids")
            )
        else:
            zones[_row(answer).get("timezone") or source.timezone].append(customer)
    not_asked = len(customers) - len(asked)
    rest = f"; {not_asked} more were not asked, because each costs a point: their time zones are not compared"
    what = f"the key works at {api_url(source)}: {len(customers)} customer(s){rest if not_asked else ''}"
    works = [Finding(name, True, what), *_points(name, source, answer)] if answer else []
    wrong = [_wrong_zone(name, source, zone, zones) for zone in sorted(zones) if zone != source.timezone]
    return [
        *works,
        *refused,
        *wrong,
        *_doubled(name, customers, users),
        *(_points(name, source, answer) if answer else []),
    ]


def _wrong_zone(name: str, source: Source, zone: str, zones: Mapping[str, Sequence[int]]) -> Finding:
    """Say what to do about customers of a time zone that is not the source's."""
    whose = ", ".join(map(str, zones[zone]))
    alone = f"give them a source of their own, with user_ids: [{whose}] and timezone: {zone}"
    mend = f"set timezone: {zone}" if len(zones) == 1 else alone
    return Finding(
        name, False, f"the time zone of customer(s) {whose} is {zone}, the config says {source.timezone}: {mend}"
    )


def _doubled(name: str, asked: Sequence[int], users: Sequence[Mapping[str, int]]) -> Iterator[Finding]:
    """Find users of one customer: they see the same rows, which would be loaded once for each of them."""
    of_customer: dict[int, list[int]] = {}
    for user in users:
        if user["id"] in asked:
            of_customer.setdefault(user["customer_id"], []).append(user["id"])
    for customer, ids in of_customer.items():
        if len(ids) > 1:
            same = f"users {', '.join(map(str, ids))} belong to one customer, {customer}, and see the same rows"
            yield Finding(name, False, f"user_ids: {same}: name one of them")


def _customer_users(client: Client, source: Source) -> list[dict[str, int]]:
    """Ask for the agent's list of users: a point for each 10 000 of them.

    Nobody needs the right to it where the config names users; raises ComagicError where it does not.
    """
    try:
        rows, _ = DictionaryReader(client, tables()["customer_users"], source.zone).read()
    except MethodUnavailableError as error:
        if source.user_ids != "all":
            return []
        raise ComagicError(f"{error}; take user_ids out if the key is no agent's") from error
    return [{"id": row.id, "customer_id": row.customer_id} for row in rows]  # type: ignore[attr-defined]


def _row(answer: Answer) -> dict[str, Any]:
    """Return the one row of get.account."""
    account = msgspec.json.decode(answer.data)
    account = account[0] if isinstance(account, list) and account else account
    return account if isinstance(account, dict) else {}


def _points(name: str, source: Source, answer: Answer) -> list[Finding]:
    """Say how many points are left of the day, where the API tells."""
    limits = answer.limits
    if limits.day_remaining is None:
        return []
    left = f"{limits.day_remaining} of {limits.day_limit} points left today"
    reserve = effective_reserve(source.day_points.reserve, limits.day_limit)
    enough = limits.day_remaining > reserve
    mend = "" if enough else f"; backfills keep {reserve} in reserve and wait (day_points.reserve)"
    if reserve < source.day_points.reserve:
        mend += f"; of day_points.reserve {source.day_points.reserve} only {reserve} are kept, half of the day's limit"
    return [Finding(name, enough, left + mend)]


@click.command("doctor")
@click.option("--tell", "is_told", is_flag=True, help="Send a test message to each address of alerts.urls, no more.")
def command(is_told: bool) -> None:
    """Check config, key, address list, points, warehouse and instance; say what to fix. Costs a point a source."""
    config = load_config()

    def report(finding: Finding) -> None:
        click.echo(f"{'ok  ' if finding.ok else 'MEND'}  {finding.check}: {finding.text}")

    if is_told:
        findings = list(tell(config))
        for finding in findings:
            report(finding)
        sys.exit(0 if all(finding.ok for finding in findings) else 1)
    with sandbox_api(config):
        if not examine(config, report):
            sys.exit(1)
