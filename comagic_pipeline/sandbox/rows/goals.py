"""Rows of get.goals_report: what visitors achieved on the sites."""

from datetime import date

from comagic_pipeline.sandbox import specification
from comagic_pipeline.sandbox.rows import calls
from comagic_pipeline.sandbox.rows.day_visits import contact, visits
from comagic_pipeline.sandbox.rows.days import Days
from comagic_pipeline.sandbox.rows.ids import Ids, luck, pick
from comagic_pipeline.sandbox.rows.marks import marks
from comagic_pipeline.sandbox.specification import Row

METHOD = "get.goals_report"

_COMMUNICATION_IDS = Ids(800_000_000_000)


def count(days: Days, day: date) -> int:
    """Return how many goals are achieved on a day: as many as there are calls."""
    return calls.count(days, day)


def rows(days: Days, day: date) -> list[Row]:
    """Return the goals achieved on a day, all of them during visits.

    ``id`` is that of the goal, the same every time.
    """
    communication_id = _COMMUNICATION_IDS.of_day(days.cast, day)
    columns = list(specification.methods()[METHOD].columns)
    day_visits = days.made(visits, day)
    made = []
    for number in range(count(days, day)):
        # Backwards, for the visits during calls stand last.
        row = contact(day_visits, number, -3, columns, salt=5)
        row["communication_id"] = communication_id(number)
        goal = pick(days.cast.goals, row["communication_id"])
        row["id"], row["name"], row["type"], row["source"], row["ext_id"] = (
            goal.id, goal.name, goal.type, goal.source, goal.ext_id,
        )  # fmt: skip
        row["communication_type"] = "goal"
        row |= {"tags": [], "attributes": []}
        if luck(row["communication_id"], 1) < 0.2:
            row |= marks(days.cast, row["communication_id"], row["date_time"])
        made.append(row)
    return made
