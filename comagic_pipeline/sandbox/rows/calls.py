"""Rows of get.calls_report: the calls of a day, and how they look while they go on."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from random import Random
from typing import Any

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.rows import texts
from comagic_pipeline.sandbox.rows.cast import OFFICE_PHONE_NUMBER, USER_LOGIN, Cast
from comagic_pipeline.sandbox.rows.days import Days
from comagic_pipeline.sandbox.rows.visits import Visits
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.calls_report"

CALL_AT_NOON = 2
"""The number of a call that begins at 12:34:56, on every day with so many calls."""

_FIRST_ID = 3_330_000_000
_FIRST_DAY = date(2015, 1, 1).toordinal()
_IDS_PER_DAY = 1_000_000
_PRIME = 999_983  # the largest below _IDS_PER_DAY: multiplying by anything spreads the ids without a repeat
# Other than the call's own id: the docs do not say that the two are equal, so a loader must not rely on it.
_FIRST_COMMUNICATION_ID = 40_000_000_000
_FIRST_SESSION_ID = 55_500_000_000
_WEEKDAYS = (1.2, 1.25, 1.2, 1.15, 1.1, 0.6, 0.5)

_VISIT_SOURCES = (*["dynamic_call_tracking"] * 6, "call_tracking", "simple_dt", "sitephone", "lead", "omni_widget")
_TALKED_REASONS = ("subscriber_disconnects", "operator_disconnects", "success_finish")
_TAG_COUNTS = (0, 0, 0, 0, 1, 1, 1, 2, 3, 8)
_EMPTY_WHILE_GOING_ON = (
    "finish_time", "finish_reason", "wait_duration", "total_wait_duration", "talk_duration", "clean_talk_duration",
    "total_duration", "postprocess_duration", "full_record_file_link",
)  # fmt: skip


def count(days: Days, day: date) -> int:
    """Return how many calls begin on a day: so many on average, fewer at weekends, at most as many as there are ids."""
    random = Random(f"{days.cast.seed}/calls/{day}/count")  # noqa: S311 - rows, not secrets
    return min(round(days.calls_per_day * _WEEKDAYS[day.weekday()] * (0.85 + 0.3 * random.random())), _PRIME)


def rows(days: Days, day: date) -> list[Row]:
    """Return the calls that begin on a day, in no particular order."""
    return _Day(days.cast, day).calls(count(days, day))


def communication_ids(cast: Cast, day: date) -> Callable[[int], int]:
    """Return the communication id of the call with a number on a day: 0, 1, 2 and so on, without making the calls."""
    first = _FIRST_COMMUNICATION_ID + _first_of_day(cast, day)
    shift = _shift(_stream(cast, day).random())
    return lambda index: first + _scattered(index, shift)


def as_of(rows: list[Row], now: str, options: Mapping[str, Any]) -> list[Row]:
    """Return the rows that the API shows at a moment: calls that have ended, and on demand those that go on."""
    shown = []
    for row in rows:
        if row["finish_time"] is not None and row["finish_time"] <= now:
            shown.append(row)
        elif row["start_time"] <= now and options.get("include_ongoing_calls"):
            shown.append(row | dict.fromkeys(_EMPTY_WHILE_GOING_ON) | {"call_records": [], "wav_call_records": []})
    return shown


def _stream(cast: Cast, day: date) -> Random:
    return Random(f"{cast.seed}/calls/{day}")  # noqa: S311 - rows, not secrets


def _first_of_day(cast: Cast, day: date) -> int:
    return cast.id_offset + (day.toordinal() - _FIRST_DAY) * _IDS_PER_DAY


def _shift(luck: float) -> int:
    return int(luck * _PRIME)


def _scattered(index: int, shift: int) -> int:
    return (index * 611_953 + shift) % _PRIME


class _Day:
    def __init__(self, cast: Cast, day: date) -> None:
        stream = _stream(cast, day)
        columns = specification.methods()[METHOD].columns
        self._random = stream.random
        self._cast = cast
        self._visits = Visits(cast, stream, columns)
        self._midnight = datetime.combine(day, time())
        self._ids = _first_of_day(cast, day)
        self._sources = columns["source"].enum or []
        self._finish_reasons = columns["finish_reason"].enum or []
        self._attributes = columns["attributes"].items_enum or []

    def calls(self, count: int) -> list[Row]:
        shift = _shift(self._random())
        return [self._call(_scattered(index, shift), self._second(index)) for index in range(count)]

    def _second(self, index: int) -> int:
        """Return the second a call begins at.

        The first and the last of the day always, one that several share, any other.
        """
        if index < 5:
            return (0, 86_399, 45_296, 45_296, 45_296)[index]
        return int((self._random() + self._random()) / 2 * 86_400)

    def _call(self, number: int, second: int) -> Row:
        random, cast = self._random, self._cast
        session = self._ids + number
        talked = random() < 0.7
        luck = random()
        site = cast.sites[int(random() * len(cast.sites))]
        if random() < 0.6:
            source = _VISIT_SOURCES[int(random() * len(_VISIT_SOURCES))]
            campaign, row = self._visits.visit(_FIRST_SESSION_ID + session)
            site = campaign.site
        else:
            source = self._sources[int(random() * len(self._sources))]
            row = self._visits.without_visit()
        wait = 1 + int(random() * 60)
        # Cubed: most calls are short, the longest takes an hour.
        clean_talk = 5 + int(random() ** 3 * 3600) if talked else 0
        hold = int(random() * 30) if talked and luck < 0.3 else 0
        wrap_up = int(random() * 20) if talked else None
        total = wait + hold + clean_talk + (wrap_up or 0)
        region_id, region, _, country, country_id = texts.CITIES[int(random() * len(texts.CITIES))]
        scenario = cast.scenarios[int(random() * len(cast.scenarios))]
        record = f"{int(random() * 16**8):08x}{session & 0xFFFFFFFFFFFFFFFF:016x}{number:08x}"
        communication_id = _FIRST_COMMUNICATION_ID + session
        row["id"] = _FIRST_ID + session
        row["start_time"] = self._moment(second)
        row["finish_time"] = self._moment(second + total)
        row["finish_reason"] = self._pick(_TALKED_REASONS if talked else self._finish_reasons)
        row["direction"] = "out" if source in ("sip", "faxout", "auto_out_calls", "progressive_call") else "in"
        row["cpn_region_id"] = region_id
        row["cpn_region_name"] = region
        row["cpn_country_name"] = country
        row["cpn_country_id"] = country_id
        if source in ("sitephone", "lead", "omni_widget"):
            row["properties"] = self._pick(cast.comments)
        row["scenario_operations"] = scenario.operations
        row["source"] = source
        row["is_lost"] = not talked
        row["contact_phone_number"] = f"{country_id}9{int(random() * 1e9):09}" if source != "private_number" else ""
        row["communication_id"] = communication_id
        row["communication_type"] = "call"
        row["wait_duration"] = wait
        row["total_wait_duration"] = wait + hold
        row["lost_call_processing_duration"] = int(random() * 90_000) if not talked and luck < 0.5 else None
        row["talk_duration"] = clean_talk + hold
        row["clean_talk_duration"] = clean_talk
        row["total_duration"] = total
        row["postprocess_duration"] = wrap_up
        row["call_records"] = [record] if talked else []
        row["wav_call_records"] = [record[::-1]] if talked and luck < 0.1 else []
        row["full_record_file_link"] = f"https://media.comagic.ru/{communication_id}/{record}" if talked else None
        row["voice_mail_records"] = [record] if not talked and luck < 0.2 else []
        row["virtual_phone_number"] = self._pick(site.phone_numbers)
        if talked and luck < 0.15:
            row["sale_date"] = self._moment(second + total + int(random() * 86_400))
            row["sale_cost"] = int(random() * 30_000_000) / 100
        row["tags"] = self._tags(second + total)
        self._put_employees(row, talked=talked, luck=luck)
        if talked:
            row["operator_phone_number"] = OFFICE_PHONE_NUMBER
        row["scenario_name"] = scenario.name
        row["scenario_id"] = scenario.id
        row["site_domain_name"] = site.domain
        row["site_id"] = site.id
        if source == "auto_out_calls":
            row["auto_call_campaign_name"] = self._pick(texts.DIALLING_CAMPAIGNS)
        elif source == "upload_calls":
            row["ext_id"] = f"upload-{session}"
        elif source.startswith("callapi"):
            row["call_api_request_id"] = _FIRST_COMMUNICATION_ID * 2 + session
            row["call_api_external_id"] = f"crm/{session}"
        if luck < 0.05:
            contact = self._pick(cast.contacts)
            row["contact_id"] = contact.id
            row["contact_full_name"] = contact.full_name
        row["attributes"] = self._contact_attributes(talked=talked, luck=luck)
        return row

    def _pick(self, values: Any) -> Any:
        return values[int(self._random() * len(values))]

    def _moment(self, second: int) -> str:
        return str(self._midnight + timedelta(seconds=second))

    def _tags(self, second: int) -> list[Row]:
        """None to eight tags; two different tags of the account bear one name."""
        first, count = int(self._random() * 8), self._pick(_TAG_COUNTS)
        tags = []
        for index in range(count):
            tag = self._cast.tags[(first + index) % len(self._cast.tags)]
            employee = self._cast.employees[index] if index % 3 == 1 else None
            manual = index % 3 == 0
            tags.append(
                {
                    "tag_id": tag.id,
                    "tag_name": tag.name,
                    "tag_type": "manual" if manual or employee else "auto",
                    "tag_change_time": self._moment(second + 60 * index),
                    "tag_user_id": self._cast.user_id if manual else None,
                    "tag_user_login": USER_LOGIN if manual else None,
                    "tag_employee_id": employee.id if employee else None,
                    "tag_employee_full_name": employee.full_name if employee else None,
                }
            )
        return tags

    def _put_employees(self, row: Row, *, talked: bool, luck: float) -> None:
        """Who was rung and who talked: nobody, one, or two when the call was handed over."""
        employees = self._cast.employees
        first = int(self._random() * len(employees))
        rung = [employees[(first + index) % len(employees)] for index in range(1 + int(luck * 100) % 3)]
        talkers = rung[: 2 if luck > 0.9 else 1] if talked else []
        if talked or luck < 0.5:
            row["employees"] = [
                {
                    "employee_id": employee.id,
                    "employee_full_name": employee.full_name,
                    "is_answered": index < len(talkers),
                    "is_talked": index < len(talkers),
                }
                for index, employee in enumerate(rung)
            ]
        else:
            row["employees"] = []
        if talkers:
            for verb in ("answered", "talked"):
                row[f"first_{verb}_employee_id"] = talkers[0].id
                row[f"first_{verb}_employee_full_name"] = talkers[0].full_name
                row[f"last_{verb}_employee_id"] = talkers[-1].id
                row[f"last_{verb}_employee_full_name"] = talkers[-1].full_name
        row["last_answered_employee_rating"] = 1 + int(luck * 100) % 5 if talked and luck < 0.4 else None
        row["is_transfer"] = len(talkers) > 1

    def _contact_attributes(self, *, talked: bool, luck: float) -> list[str]:
        if luck < 0.005:
            return self._attributes
        if not talked:
            return ["lost"]
        return ["first", "primary", "target", "quality"] if luck < 0.4 else ["secondary", "rest"] if luck < 0.8 else []
