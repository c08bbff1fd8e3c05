"""Compare loaded days with the API, at as few points as possible.

First row counts, at a point for a window of up to three months; then, for days whose counts differ, the rows with the
columns that are compared. Equal counts can hide changed rows: mode `sampled` also reads a part of the days, another one
each day; `full` reads all.

Calls are compared by campaign, call source and tag for each day, in raw and in the star; other reports row by row.
Customers of an agent are compared separately, because their ids may be equal.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from math import ceil, log2
from typing import Any, Literal, TypeVar

import msgspec

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import MethodUnavailableError
from comagic_pipeline.api.readers.periods import longest_windows
from comagic_pipeline.api.readers.report import report_reader
from comagic_pipeline.api.readers.row_count import count_between, count_rows
from comagic_pipeline.api.readers.windows import DaysComplete, Discarded, Rows
from comagic_pipeline.api.requests import PAGE_ROWS
from comagic_pipeline.api.rows import Row
from comagic_pipeline.catalog import Method
from comagic_pipeline.catalog.table_names import facts_of
from comagic_pipeline.config import Source
from comagic_pipeline.custom_reports.mapping import day_of
from comagic_pipeline.operations.raw_rows import raw_rows_of
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops.doubtful_days import mark_proven
from comagic_pipeline.warehouse.ops.pending_days import periods
from comagic_pipeline.warehouse.ops.reconciliation import (
    NO_CAMPAIGN,
    NO_SOURCE,
    CallSums,
    ComparedDay,
    Difference,
    Group,
    Sums,
    compared_days,
    is_date_till_inclusive,
    keep_date_till,
    probe_of,
    raw_sums,
    rejected_keys,
    rows_in_last_second,
    star_sums,
)
from comagic_pipeline.warehouse.raw.days import snapshot
from comagic_pipeline.warehouse.target import Account

Mode = Literal["quick", "sampled", "full"]
CALLS = "calls_report"
_CALL_COLUMNS = ("campaign_id", "source", "wait_duration", "talk_duration", "tags")
_SAMPLES = 6
"""In how many parts the days are read by `sampled`, one each day."""
_TAG_ID = re.compile(r"-?[0-9]{1,18}")
_DAY = timedelta(days=1)
_PLENTY = 100
"""From how many points left of the day on a window is counted by halves, for a point more."""

Fingerprint = tuple[str, str]
"""The key of a row, and what stands for its values."""
Taken = TypeVar("Taken")

Found = dict[date, list[Difference]]
"""Days that were compared, and what differs; an empty list: nothing does."""


class Reconciler:
    """Compares the days of one report of a source with the API."""

    def __init__(
        self,
        client: Client,
        warehouse: Warehouse,
        source: Source,
        method: Method,
        accounts: Sequence[Account],
        params_of: Callable[[Account], Mapping[str, Any]],
        sites: Callable[[Account], Sequence[int]],
    ) -> None:
        self._client, self._warehouse, self._source, self._method = client, warehouse, source, method
        self._accounts, self._sites = accounts, sites
        self._filter = source.filter(method.table)
        self._params = {account: self._filtered(params_of(account)) for account in accounts}
        self._has_star = method.table == CALLS and bool(facts_of(CALLS, source.chosen_tables))
        self._loaded: Sequence[date] = ()
        self._rejected: dict[date, set[str]] = {}
        """The keys of the rows that came while days were read and could not be stored, by day."""
        self._proven: set[date] = set()
        """Days whose rows added up when they were read last."""
        self.points = 0
        self.warnings: list[str] = []

    def _filtered(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {**params, "filter": self._filter.tree} if self._filter and self._filter.tree else params

    def compare(self, first_day: date, last_day: date, mode: Mode, turn: int) -> Iterator[Found]:
        """Compare the loaded days of a period, both ends included; yields them as they are done.

        `turn` says which part `sampled` reads: give a number that grows by one each day. Raises what Client.call and
        the readers raise; `points` holds those spent so far, whatever happens. Days of an agent come at the end, with
        what differs of any customer who has the day; a customer whose account refuses the report is left out, with a
        line in `warnings`.
        """
        with self._warehouse.connect() as connection:
            held = compared_days(connection, self._source.account_id, self._method.table, first_day, last_day)
        of_all: Found = {}
        for account in self._accounts:
            days = {each.day: each for each in held if each.customer_user_id == account.customer_user_id}
            try:
                for found in self._compare(account, days, mode, turn):
                    if not account.customer_user_id:
                        yield found
                    for day, differences in found.items():
                        of_all.setdefault(day, []).extend(differences)
            except MethodUnavailableError as error:
                if not account.customer_user_id:
                    raise
                self.warnings.append(f"customer {account.customer_user_id}: {error}")
        if any(account.customer_user_id for account in self._accounts):
            yield of_all

    def _compare(self, account: Account, days: Mapping[date, ComparedDay], mode: Mode, turn: int) -> Iterator[Found]:
        """Compare the loaded days of one customer, or of an account that is no agent's."""
        self._loaded = sorted(days)
        if mode == "full" or not self._is_countable:
            to_read = set() if mode == "quick" else set(days)
        else:
            to_read = self._in_turn(days, turn) if mode == "sampled" else set()
            # The API may have come to terms with itself.
            to_read |= {day for day, each in days.items() if each.is_unproven and mode == "sampled"}
            for begin, end in periods(sorted(days)):
                for start, stop in longest_windows(self._method, begin, end):
                    for first, last in self._halves(start, stop):
                        to_read |= self._different(account, days, first, last)
            equal = sorted(days.keys() - to_read)
            yield self._with_rejected(account, self._star_differences(account, equal))
        for begin, end in periods(sorted(to_read)):
            for start, stop in longest_windows(self._method, begin, end) if self._is_countable else [(begin, end)]:
                found = self._read(account, start, stop)
                self._clear_proven(account, [day for day in found if days[day].is_unproven and not found[day]])
                yield found

    @property
    def _is_countable(self) -> bool:
        """True when a single request tells how many rows a window has."""
        return self._method.time_column is not None and not self._method.needs_site

    def _halves(self, first_day: date, last_day: date) -> list[tuple[date, date]]:
        """Return the window, or its halves where points are plenty.

        Numbers that even out over all of it differ in them.
        """
        left = self._client.quota.left()
        if first_day == last_day or (left is not None and left < _PLENTY):
            return [(first_day, last_day)]
        middle = first_day + (last_day - first_day) // 2
        return [(first_day, middle), (middle + _DAY, last_day)]

    def _with_rejected(self, account: Account, found: Found) -> Found:
        """Return the days with rows that the API has and that could not be stored: they are missing."""
        with self._warehouse.connect() as connection:
            for day, key in rejected_keys(connection, account, self._method.table, found):
                found[day].append(_missing_row(account, day, key))
        return found

    def _in_turn(self, days: Collection[date], turn: int) -> set[date]:
        """Return the days that are read by turns."""
        ordered = sorted(days)
        length = ceil(len(ordered) / _SAMPLES)
        begin = turn % _SAMPLES * length
        return set(ordered[begin : begin + length])

    def _different(
        self, account: Account, days: Mapping[date, ComparedDay], first_day: date, last_day: date
    ) -> set[date]:
        """Return the days of a window whose numbers of rows differ.

        All of them where reading costs no more than to find out.

        A window whose number is right is taken to be equal.
        """
        window = _days_of(first_day, last_day)
        known = [days[day].answered for day in window]
        if None in known:
            return set(window)
        answered = sum(each or 0 for each in known)
        counted = count_rows(self._client, self._method, self._params[account], first_day, last_day)
        self.points += 1
        if counted is not None and self._is_count(answered, counted, account, last_day):
            return set()
        pages = max(1, ceil((counted or answered) / PAGE_ROWS))
        halving = 2 * ceil(log2(len(window)))
        if len(window) == 1 or pages <= halving:
            return set(window)
        middle = first_day + (last_day - first_day) // 2
        return self._different(account, days, first_day, middle) | self._different(
            account, days, middle + _DAY, last_day
        )

    def _is_count(self, answered: int, counted: int, account: Account, last_day: date) -> bool:
        """Return whether the API counts as many rows as it had when the days were loaded."""
        with self._warehouse.connect() as connection:
            in_last_second = rows_in_last_second(connection, self._method, account, last_day)
        if not in_last_second:
            return counted == answered
        # Not known: reading the days tells.
        is_inclusive = self._learn_date_till(account)
        return is_inclusive is not None and counted == answered - (0 if is_inclusive else in_last_second)

    def _learn_date_till(self, account: Account) -> bool | None:
        """Return whether rows of the second `date_till` are counted: asked once per account, for a point.

        None: not known.

        Rows that a filter of the source left out are not in raw, so that nothing follows from their number there.
        """
        account_id = self._source.account_id
        with self._warehouse.connect() as connection:
            known = is_date_till_inclusive(connection, account_id)
            if known is not None or self._filter:
                return known
            probe = probe_of(connection, self._method, account, self._loaded)
        if probe is None:
            return None
        counted = count_between(self._client, self._method, self._params[account], probe.start, probe.end)
        self.points += 1
        answers = {probe.rows: True, probe.rows - probe.last_rows: False}
        if counted is None or (is_inclusive := answers.get(counted)) is None:
            return None  # rows came or went since they were loaded
        with self._warehouse.begin() as connection:
            keep_date_till(connection, account_id, is_inclusive, datetime.now(UTC))
        return is_inclusive

    def _star_differences(self, account: Account, days: Sequence[date]) -> Found:
        """Return what raw and star say otherwise of days whose raw rows are right: free of points."""
        if not self._has_star:
            return {day: [] for day in days}
        with self._warehouse.connect() as connection:
            raw = raw_sums(connection, self._warehouse.schemas, account, days)
            star = star_sums(connection, self._warehouse.schemas, account, days)
        return {day: list(self._differences(account, day, "star", star[day], raw[day])) for day in days}

    def _read(self, account: Account, first_day: date, last_day: date) -> Found:
        """Compare days by their rows."""
        self._rejected.clear()
        self._proven.clear()
        is_calls = self._method.table == CALLS
        found = (self._read_calls if is_calls else self._read_rows)(account, first_day, last_day)
        for day, keys in self._rejected.items():
            found[day] += [_missing_row(account, day, key) for key in sorted(keys)]
        return found

    def _clear_proven(self, account: Account, days: Sequence[date]) -> None:
        """Take the marks from days that were unproven, now add up and are equal."""
        if proven := [day for day in days if day in self._proven]:
            with self._warehouse.begin() as connection:
                mark_proven(connection, account, self._method.table, proven)

    def _steps(self, method: Method, account: Account, first_day: date, last_day: date) -> Iterator[Any]:
        zone, params = self._source.zone, self._params[account]
        reader = report_reader(self._client, method, zone, params, lambda: self._sites(account))
        told = 0
        try:
            for step in reader.read(first_day, last_day):
                self.points += reader.points - told
                told = reader.points
                yield step
        finally:
            self.points += reader.points - told

    def _complete(
        self, method: Method, account: Account, first_day: date, last_day: date, taken: Callable[[Row], Taken]
    ) -> Iterator[tuple[date, list[Taken]]]:
        """Yield what is `taken` of the wanted rows of each day, as soon as it is complete.

        A day that changed while it was read comes twice: the last time counts.
        """
        keeps = self._filter.keeps if self._filter else lambda _: True
        of_day = day_of(method)
        waiting: dict[date, list[Taken]] = {}
        for step in self._steps(method, account, first_day, last_day):
            match step:
                case Rows():
                    for value in (value for value in step.rejected if value.column is None):
                        day = min(max(value.day or step.first_day, step.first_day), step.last_day)
                        self._rejected.setdefault(day, set()).add(value.key)
                    for row in filter(keeps, step.rows):
                        waiting.setdefault(of_day(row) or step.first_day, []).append(taken(row))
                case Discarded():
                    waiting = {}
                case DaysComplete():
                    for day in _days_of(step.first_day, step.last_day):
                        (self._proven.discard if step.differences.get(day) else self._proven.add)(day)
                        yield day, waiting.pop(day, [])

    def _read_calls(self, account: Account, first_day: date, last_day: date) -> Found:
        method = self._method.narrowed({*_CALL_COLUMNS, *(self._filter.columns if self._filter else ())})
        days = _days_of(first_day, last_day)
        api = {day: CallSums.empty() for day in days}
        for day, calls in self._complete(method, account, first_day, last_day, _call):
            api[day] = CallSums.empty()
            for call in calls:
                _add_call(api[day], *call)
        with self._warehouse.connect() as connection:
            layers = {"raw": raw_sums(connection, self._warehouse.schemas, account, days)}
            if self._has_star:
                layers["star"] = star_sums(connection, self._warehouse.schemas, account, days)
        return {
            day: [
                difference
                for layer, sums in layers.items()
                for difference in self._differences(account, day, layer, sums[day], api[day])
            ]
            for day in days
        }

    def _differences(
        self, account: Account, day: date, layer: str, ours: CallSums, theirs: CallSums
    ) -> Iterator[Difference]:
        place = {"customer_user_id": account.customer_user_id, "day": day, "layer": layer}
        yield from self._compared(ours.total, theirs.total, **place, grain="day")
        groups: list[Group] = sorted({*ours.groups, *theirs.groups}, key=str)
        for group in groups:
            campaign_id, call_source, tag_id = group
            yield from self._compared(
                ours.groups.get(group),
                theirs.groups.get(group),
                **place,
                grain="group",
                campaign_id=campaign_id,
                call_source=call_source,
                tag_id=tag_id,
            )

    def _compared(self, ours: Sums | None, theirs: Sums | None, **place: Any) -> Iterator[Difference]:
        for number, measure in enumerate(("calls", "waiting", "talking")):
            one, other = (None if sums is None else sums[number] for sums in (ours, theirs))
            if abs((one or 0) - (other or 0)) > self._source.reconciliation.tolerance:
                yield Difference(measure=measure, in_warehouse=one, in_api=other, **place)

    def _read_rows(self, account: Account, first_day: date, last_day: date) -> Found:
        found: Found = {day: [] for day in _days_of(first_day, last_day)}
        for day, rows in self._complete(self._method, account, first_day, last_day, self._fingerprint):
            found[day] = list(self._row_differences(account, day, Counter(rows)))
        return found

    def _row_differences(self, account: Account, day: date, theirs: Counter[Fingerprint]) -> Iterator[Difference]:
        ours: Counter[Fingerprint] = Counter()
        with snapshot(self._warehouse) as connection:
            for rows in raw_rows_of(connection, self._method, account, day):
                ours.update(map(self._fingerprint, rows))
        ours_alone, theirs_alone = (
            Counter(key for key, _ in side.elements()) for side in (ours - theirs, theirs - ours)
        )
        for key in sorted({*ours_alone, *theirs_alone}):
            counts = ours_alone[key], theirs_alone[key]
            # As many rows with one key are the same rows with other values.
            measure = "values" if counts[0] == counts[1] else "rows"
            customer = account.customer_user_id
            yield Difference(day, "raw", "row", measure, *counts, row_key=key, customer_user_id=customer)

    def _fingerprint(self, row: Row) -> Fingerprint:
        """Return the key of a row as text, and what stands for all of its values, however their JSON is written."""
        values = [
            _canonical(bytes(value)) if isinstance(value, msgspec.Raw) else value
            for value in msgspec.structs.astuple(row)
        ]
        digest = hashlib.md5(msgspec.json.encode(values), usedforsecurity=False).hexdigest()
        return ", ".join(str(getattr(row, name)) for name in self._method.key), digest


def _missing_row(account: Account, day: date, key: str) -> Difference:
    customer = account.customer_user_id
    return Difference(day, "raw", "row", "rows", None, 1, row_key=key, customer_user_id=customer)


def _canonical(text: bytes) -> str:
    value = json.loads(text)
    # null, [] and {} are alike (protocol.json, "observed_exceptions").
    return "" if value in (None, [], {}) else json.dumps(value, sort_keys=True, ensure_ascii=False)


def _call(row: Any) -> tuple[Sums, int, str, list[int]]:
    """Return what is compared of a call: its numbers, campaign, call source and tags."""
    values = (1, row.wait_duration or 0, row.talk_duration or 0)
    return values, row.campaign_id or NO_CAMPAIGN, (row.source or NO_SOURCE)[:64], _tag_ids(row.tags)


def _add_call(sums: CallSums, values: Sums, campaign_id: int, call_source: str, tag_ids: Sequence[int]) -> None:
    sums.total = _plus(sums.total, values)
    for tag_id in tag_ids or (None,):
        group = (campaign_id, call_source, tag_id)
        sums.groups[group] = _plus(sums.groups.get(group, (0, 0, 0)), values)


def _tag_ids(raw: msgspec.Raw) -> list[int]:
    """Return the tags of a call, each once; what is no tag is none, as in the star."""
    tags = msgspec.json.decode(raw)
    found = {str(tag.get("tag_id")) for tag in tags if isinstance(tag, dict)} if isinstance(tags, list) else set()
    return sorted(int(tag_id) for tag_id in found if _TAG_ID.fullmatch(tag_id))


def _plus(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _days_of(first_day: date, last_day: date) -> list[date]:
    return [first_day + number * _DAY for number in range((last_day - first_day).days + 1)]
