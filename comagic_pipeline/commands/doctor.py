"""`doctor`: what is wrong with the set-up and how to mend it, before a load finds out."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import msgspec

from comagic_pipeline.api.errors import ComagicError, DayPointsSpentError
from comagic_pipeline.api.quota import effective_reserve
from comagic_pipeline.config import Config, ConfigError, Source
from comagic_pipeline.instance import open_instance
from comagic_pipeline.messages import Post
from comagic_pipeline.printable import printable
from comagic_pipeline.resources import api_url, open_client, open_warehouse
from comagic_pipeline.warehouse.embedded import EmbeddedServerError
from comagic_pipeline.warehouse.engine import WarehouseError, one_line

_ATTEMPTS = 2  # who waits at a terminal hears within seconds that nobody answers


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, and what was found; when not `ok`, `text` says what to mend."""

    check: str
    ok: bool
    text: str


def examine(config: Config, report: Callable[[Finding], None]) -> bool:
    """Check config, warehouse, instance and each source's key, address and points; true when all is well.

    Costs one point for each source (get.account). Findings are reported as they come.
    """
    report_all = [Finding("config", True, f"{config.path}: {len(config.sources)} source(s)")]
    report(report_all[0])
    for check in (_warehouse, _instance):
        report_all.append(check(config))
        report(report_all[-1])
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


def _warehouse(config: Config) -> Finding:
    try:
        with open_warehouse(config) as warehouse:
            kind = "embedded " if config.warehouse.url is None else ""
            text = f"{kind}PostgreSQL {warehouse.check()}, all migrations applied"
            return Finding("warehouse", True, text)
    except (ConfigError, WarehouseError, EmbeddedServerError) as error:
        return Finding("warehouse", False, one_line(error))


def _instance(config: Config) -> Finding:
    try:
        with open_instance(config) as instance:
            return Finding("instance", True, f"storage is reachable, {instance.get_runs_count()} runs so far")
    except (ConfigError, EmbeddedServerError) as error:
        return Finding("instance", False, one_line(error))


def _source(config: Config, source: Source) -> list[Finding]:
    name = f"source {source.name}"
    along = source.tables_that_come_along
    needed = f"; not chosen but needed by them: {', '.join(along)}" if along else ""
    tables = Finding(name, True, f"{len(source.chosen_tables)} tables{needed}")
    return [tables, *_account(config, name, source)]


def _account(config: Config, name: str, source: Source) -> list[Finding]:
    try:
        with ExitStack() as stack:
            warehouse = None
            # What is wrong with the warehouse was found already.
            with suppress(ConfigError, WarehouseError, EmbeddedServerError):
                warehouse = stack.enter_context(open_warehouse(config))
            client = stack.enter_context(open_client(source, warehouse, attempts=_ATTEMPTS, insists=True))
            answer = client.call("get.account")
            account = msgspec.json.decode(answer.data)
    except DayPointsSpentError as error:
        return [Finding(name, True, f"the key works; {error}")]
    except (ConfigError, ComagicError) as error:
        return [Finding(name, False, one_line(error))]
    account = account[0] if isinstance(account, list) and account else account
    account = account if isinstance(account, dict) else {}
    findings = [
        Finding(name, True, f"the key works at {api_url(source)}: account {printable(str(account.get('name')))}")
    ]
    zone = printable(str(account.get("timezone") or ""))
    if zone and zone != source.timezone:
        mend = f"the account's time zone is {zone}, the config says {source.timezone}: set timezone: {zone}"
        findings.append(Finding(name, False, mend))
    limits = answer.limits
    if limits.day_remaining is not None:
        left = f"{limits.day_remaining} of {limits.day_limit} points left today"
        reserve = effective_reserve(source.day_points.reserve, limits.day_limit)
        enough = limits.day_remaining > reserve
        mend = "" if enough else f"; backfills keep {reserve} in reserve and wait (day_points.reserve)"
        if reserve < source.day_points.reserve:
            mend += (
                f"; of day_points.reserve {source.day_points.reserve} only {reserve} are kept, half of the day's limit"
            )
        findings.append(Finding(name, enough, left + mend))
    return findings
