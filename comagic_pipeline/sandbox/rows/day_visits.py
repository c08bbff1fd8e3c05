"""The visits that begin on a day: those during which someone called, and ten times as many others.

Not a report yet: chats, offline messages and goals are laid into these visits, the report of visits tells of all.
"""

from collections.abc import Iterable
from datetime import date, timedelta
from random import Random

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.rows import calls
from comagic_pipeline.sandbox.rows.days import Days, later, moment
from comagic_pipeline.sandbox.rows.ids import Ids, luck
from comagic_pipeline.sandbox.rows.visits import Visits
from comagic_pipeline.sandbox.specification import Row

_IDS = Ids(300_000_000_000)  # far from the sessions of calls
_PER_CALL = 10
_METHODS = ("get.communications_report", "get.visitor_sessions_report")
"""Their columns are those of a visit."""
_ENDS_OF_A_DAY = (0, 86_399)
"""Seconds at which the first visits begin; they take no time, so that contacts during them happen then too."""
_IN_FIRST_VISITS = (0, 0, 1)
"""The visits of the first contacts of each kind: two that share a second, and one at the end of the day."""
LONGEST = 3600
"""Seconds of the longest visit, at most."""


def count(days: Days, day: date) -> int:
    """Return how many visits begin on a day. One more than ten a call: the first call of tomorrow may need it."""
    return calls.count(days, day) * _PER_CALL + 1


def visits(days: Days, day: date) -> list[Row]:
    """Return all columns that a visit or a contact during it can have.

    ``date_time`` and ``duration`` are the visit's own.
    """
    columns = list(dict.fromkeys(column for method in _METHODS for column in specification.methods()[method].columns))
    during_calls = [
        visit
        for call_day in (day, day + timedelta(days=1))
        for call in days.made(calls.rows, call_day)
        if call["visitor_session_id"] is not None and (visit := _of_call(call, columns))["date_time"][:10] == str(day)
    ]
    stream = Random(f"{days.cast.seed}/visits/{day}")  # noqa: S311 - rows, not secrets
    random, maker, session_id = stream.random, Visits(days.cast, stream, columns), _IDS.of_day(days.cast, day)
    rows = []
    for number in range(count(days, day) - len(during_calls)):
        campaign, row = maker.visit(session_id(number))
        row["id"] = row["visitor_session_id"]
        second, duration = (random() + random()) / 2 * 86_400, 3 + int(random() ** 3 * 2400)  # most visits are short
        if number < len(_ENDS_OF_A_DAY):
            second, duration = _ENDS_OF_A_DAY[number], 0
        row["date_time"], row["duration"] = moment(day, second), duration
        row["site_id"] = campaign.site.id
        row["site_domain_name"] = campaign.site.domain
        rows.append(row)
    return rows + during_calls


def contact(day_visits: list[Row], number: int, stride: int, columns: Iterable[str], salt: int) -> Row:
    """Begins the row of the contact with a number: it happens during one of the visits of its day, never past midnight.

    ``stride`` spreads the contacts of one kind over the visits, ``salt`` over the time of theirs.
    """
    index = _IN_FIRST_VISITS[number] if number < len(_IN_FIRST_VISITS) else number * stride
    visit = day_visits[index % len(day_visits)]
    row = {name: visit.get(name) for name in columns}
    happened = later(visit["date_time"], luck(visit["visitor_session_id"], salt) * visit["duration"])
    row["date_time"] = min(happened, f"{visit['date_time'][:10]} 23:59:59")
    return row


def _of_call(call: Row, columns: list[str]) -> Row:
    """Return the visit around a call: it began some minutes before, of a call after midnight on the day before."""
    lead = 5 + int(luck(call["visitor_session_id"]) * 900)
    visit = {name: call.get(name) for name in columns}
    visit["id"] = visit["visitor_session_id"]
    visit["date_time"] = later(call["start_time"], -lead)
    visit["duration"] = lead + int(luck(call["visitor_session_id"], 1) * 900)
    return visit
