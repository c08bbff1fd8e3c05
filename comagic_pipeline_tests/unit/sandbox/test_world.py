"""The made-up account of the sandbox: the same everywhere, rich enough to trip a loader, and changed only on demand."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from typing import Any

import pytest

from comagic_pipeline.sandbox.world import World

CALLS = "get.calls_report"
LATER = datetime(2026, 1, 1, tzinfo=UTC)
METHODS = {
    method["name"]: method
    for method in json.loads((files("comagic_pipeline") / "catalog" / "methods.json").read_bytes())["methods"]
}
Row = dict[str, Any]


def world(now: datetime = LATER, **options: Any) -> World:
    return World(now=lambda: now, **options)


def calls_of(a_world: World, first: str, last: str | None = None) -> list[Row]:
    return a_world.rows(CALLS, f"{first} 00:00:00", f"{last or first} 23:59:59")


@pytest.fixture(scope="module")
def month() -> list[Row]:
    """The calls of March 2025."""
    return calls_of(world(), "2025-03-01", "2025-03-31")


def test_a_day_is_the_same_in_every_process_and_python() -> None:
    """A day of a seed never changes: its checksum is pinned."""
    text = json.dumps(calls_of(world(), "2025-03-03"), sort_keys=True)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "6cbf5c20d86ae818bdf4b2b15ee1984d4a3beab3c5ffe0fc0418d17707df542b"
    )


def test_a_day_does_not_depend_on_the_days_made_before() -> None:
    """A day alone, out of order, or from a cache too small for it is the same day."""
    forward, backward = world(), world(cached_rows=1)
    days = ["1999-12-31", "2024-02-29", "2025-03-03", "2025-03-04"]
    assert [calls_of(forward, day) for day in days] == [calls_of(backward, day) for day in days[::-1]][::-1]
    assert calls_of(forward, days[0]) == calls_of(backward, days[0])


def test_another_seed_makes_another_world() -> None:
    """Two seeds share no day."""
    assert calls_of(world(seed=1), "2025-03-03") != calls_of(world(seed=2), "2025-03-03")


def test_the_number_of_calls_varies_around_the_average() -> None:
    """A year has ``calls_per_day`` calls a day on average, fewer at weekends, and hardly two days alike."""
    rows = calls_of(world(calls_per_day=20), "2025-01-01", "2025-12-31")
    per_day = Counter(row["start_time"][:10] for row in rows)
    assert sum(per_day.values()) / 365 == pytest.approx(20, rel=0.1)
    weekend = [count for day, count in per_day.items() if date.fromisoformat(day).weekday() >= 5]
    assert sum(weekend) / len(weekend) < 15
    assert len(set(per_day.values())) > 10


def test_every_row_has_the_columns_and_types_of_the_catalog(month: list[Row]) -> None:
    """All 105 columns are there and hold null or the type and the words that the catalog names."""
    columns = {column["name"]: column for column in METHODS[CALLS]["fields"]}
    assert len(columns) == 105
    types: dict[str, Any] = {
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "string": str,
        "enum": str,
        "iso8601": str,
    }
    for row in month:
        assert row.keys() == columns.keys()
        for name, value in row.items():
            if value is not None:
                assert isinstance(value, types[columns[name]["type"]]), (name, value)
                assert value in (columns[name].get("enum") or [value])


def test_every_array_item_has_the_keys_of_the_catalog(month: list[Row]) -> None:
    """Items of nested columns have just the documented keys, or come from the documented words."""
    for column in METHODS[CALLS]["fields"]:
        if column["type"] != "array":
            continue
        items = [item for row in month for item in row[column["name"]]]
        if column.get("children"):
            assert {frozenset(item) for item in items} == {frozenset(child["name"] for child in column["children"])}
        elif column.get("items_enum"):
            assert set(items) == set(column["items_enum"])


def test_every_column_is_filled_somewhere(month: list[Row]) -> None:
    """No column of the report is empty in all rows."""
    assert [name for name in month[0] if all(row[name] in (None, []) for row in month)] == []


def test_ids_are_unique_and_beyond_32_bits() -> None:
    """Ids of calls and of visits never repeat, are larger than 32 bits and do not grow with time."""
    rows = sorted(calls_of(world(calls_per_day=60), "2023-12-25", "2024-03-05"), key=lambda row: row["start_time"])
    ids = [row["id"] for row in rows]
    assert len(set(ids)) == len(ids)
    assert min(ids) > 2**32
    assert ids != sorted(ids)
    sessions = [row["visitor_session_id"] for row in rows if row["visitor_session_id"]]
    assert len(set(sessions)) == len(sessions)


def test_durations_add_up(month: list[Row]) -> None:
    """The parts of a call fit its whole, and its whole fits its two ends."""
    for row in month:
        start, finish = (datetime.fromisoformat(row[name]) for name in ("start_time", "finish_time"))
        assert finish - start == timedelta(seconds=row["total_duration"])
        assert row["total_duration"] == row["wait_duration"] + row["talk_duration"] + (row["postprocess_duration"] or 0)
        assert row["total_wait_duration"] >= row["wait_duration"]
        assert row["talk_duration"] >= row["clean_talk_duration"]
        assert row["is_lost"] == (row["talk_duration"] == 0) == (row["first_talked_employee_id"] is None)


def test_names_go_with_their_ids(month: list[Row]) -> None:
    """One id has one name, for all that the rows name."""
    for name in ("campaign", "visitor_first_campaign", "scenario", "source"):
        pairs = {(row[f"{name}_id"], row[f"{name}_name"]) for row in month}
        assert len(pairs) == len({identity for identity, _ in pairs}), name
    employees = {(item["employee_id"], item["employee_full_name"]) for row in month for item in row["employees"]}
    assert len(employees) == len({identity for identity, _ in employees})
    assert {(row["last_talked_employee_id"], row["last_talked_employee_full_name"]) for row in month} <= {
        *employees,
        (None, None),
    }


def test_calls_without_a_visit_have_no_visitor_columns(month: list[Row]) -> None:
    """Without a visit there is no visitor, no UTM label, no source: either the built-in campaign or none."""
    without = [row for row in month if row["visitor_session_id"] is None]
    assert 0.2 < len(without) / len(month) < 0.6
    empty = [name for name in month[0] if name.startswith(("visitor_", "utm_", "eq_utm_", "openstat_", "source_"))]
    assert len(empty) > 20
    assert all(row[name] in (None, []) for row in without for name in empty)
    assert {row["campaign_id"] for row in without} == {None, 77000}


@pytest.mark.parametrize(
    "is_met",
    [
        pytest.param(lambda row: "🪟" in (row["search_query"] or ""), id="emoji"),
        pytest.param(lambda row: '"' in (row["properties"] or ""), id="quotes"),
        pytest.param(lambda row: "\\" in (row["properties"] or ""), id="backslash"),
        pytest.param(lambda row: {"\t", "\n", "\r"} <= set(row["properties"] or ""), id="tab and newlines"),
        pytest.param(lambda row: "%" in (row["utm_content"] or ""), id="percent"),
        pytest.param(lambda row: "\u2028" in (row["properties"] or ""), id="line separator"),
        pytest.param(lambda row: row["properties"] == "", id="empty string"),
        pytest.param(lambda row: row["tags"] == [] and row["employees"] == [], id="empty arrays"),
        pytest.param(lambda row: (row["source_id"] or 0) < 0, id="negative id"),
        pytest.param(lambda row: 256 < len(row["entrance_page"] or "") < 1000, id="long address"),
        pytest.param(lambda row: len(row["referrer"] or "") > 2000, id="very long address"),
        pytest.param(lambda row: (row["campaign_id"] or 0) > 77011, id="deleted campaign"),
        pytest.param(lambda row: len(row["tags"]) > 2, id="several tags"),
        pytest.param(lambda row: len({t["tag_name"] for t in row["tags"]}) < len(row["tags"]), id="tags of one name"),
        pytest.param(lambda row: len(row["attributes"]) == 9, id="all attributes"),
        pytest.param(lambda row: (row["sale_cost"] or 0) % 1 != 0, id="money with decimals"),
        pytest.param(lambda row: row["source"] == "auto_back_call_by_offline_message", id="longest source"),
        pytest.param(lambda row: row["is_transfer"], id="transfer"),
        pytest.param(lambda row: row["finish_time"][:10] > row["start_time"][:10], id="over midnight"),
    ],
)
def test_rows_are_varied(month: list[Row], is_met: Callable[[Row], bool]) -> None:
    """A month holds, in some but not all rows, everything that a loader may stumble over."""
    assert 0 < sum(map(is_met, month)) < len(month)


def test_every_day_has_rows_at_its_ends_and_several_in_one_second() -> None:
    """Each day of a year begins with a call at 00:00:00, ends with one at 23:59:59 and has a crowded second."""
    rows = calls_of(world(calls_per_day=12), "2024-01-01", "2024-12-31")
    seconds = Counter(row["start_time"] for row in rows)
    days = {row["start_time"][:10] for row in rows}
    assert len(days) == 366
    assert all(seconds[f"{day} 00:00:00"] and seconds[f"{day} 23:59:59"] for day in days)
    assert {day[:10] for day, count in seconds.items() if count >= 3} == days


def test_nul_characters_come_on_demand() -> None:
    """U+0000, which PostgreSQL cannot store as text, appears only in a world that was asked for it."""
    plain, nasty = (calls_of(world(nul_characters=flag), "2025-03-03", "2025-03-09") for flag in (False, True))
    assert not any("\0" in (row["properties"] or "") for row in plain)
    assert any("\0" in (row["properties"] or "") for row in nasty)


def test_campaigns_are_of_all_kinds() -> None:
    """get.campaigns has as many rows as asked for, of all three kinds; integrated ones have no conditions at all."""
    rows = world(campaigns=12).rows("get.campaigns")
    assert len(rows) == len({row["id"] for row in rows}) == 12
    assert {row["type"] for row in rows} == {"basic", "system", "integrated"}
    columns = {column["name"] for column in METHODS["get.campaigns"]["fields"]}
    for row in rows:
        absent = {"campaign_conditions"} if row["type"] == "integrated" else set()
        assert row.keys() == columns - absent
    assert len(world(campaigns=40).rows("get.campaigns")) == 40


def test_the_account_tells_the_time_zone() -> None:
    """get.account is one row with the zone of the world."""
    rows = world(timezone="Asia/Yekaterinburg").rows("get.account")
    assert [row["timezone"] for row in rows] == ["Asia/Yekaterinburg"]


def test_calls_appear_when_they_end() -> None:
    """At noon, Moscow time, only calls that ended by then are there; the next days are empty."""
    noon = world(now=datetime(2025, 3, 3, 9, tzinfo=UTC))
    expected = [row for row in calls_of(world(), "2025-03-03") if row["finish_time"] <= "2025-03-03 12:00:00"]
    assert 0 < len(expected) < len(calls_of(world(), "2025-03-03"))
    assert calls_of(noon, "2025-03-03", "2025-03-10") == expected
    (today,) = noon.sections(CALLS, "2025-03-03 00:00:00", "2025-03-03 23:59:59", {})
    assert today.count == len(expected)
    assert calls_of(noon, "2025-03-04") == []


def test_ongoing_calls_come_on_demand_and_unfinished() -> None:
    """A call that goes on is shown only when asked for, without its end and its durations; later ones are not."""
    row = next(row for row in calls_of(world(), "2025-03-03") if row["total_duration"] > 60)
    midst = datetime.fromisoformat(row["start_time"] + "+03:00") + timedelta(seconds=30)
    period = ("2025-03-03 00:00:00", "2025-03-03 23:59:59")
    assert row["id"] not in {other["id"] for other in world(now=midst).rows(CALLS, *period)}
    shown = {other["id"]: other for other in world(now=midst).rows(CALLS, *period, include_ongoing_calls=True)}
    now = str(midst.replace(tzinfo=None))
    assert set(shown) == {other["id"] for other in calls_of(world(), "2025-03-03") if other["start_time"] <= now}
    ongoing = shown[row["id"]]
    assert ongoing["start_time"] == row["start_time"]
    assert {ongoing[name] for name in row if name == "finish_time" or name.endswith("_duration")} == {None}


def test_changes_are_seen() -> None:
    """Rows that are added, changed and deleted look so from then on, in counts too, and others stay as they were."""
    a_world = world()
    before = calls_of(a_world, "2025-03-03")
    changed, deleted = before[0]["id"], before[1]["id"]
    a_world.change(CALLS, changed, {"sale_cost": 1.5})
    a_world.change(CALLS, changed, {"tags": []})
    a_world.delete(CALLS, deleted)
    a_world.add(CALLS, {"id": 7, "start_time": "2025-03-03 12:00:00", "finish_time": "2025-03-03 12:01:00"})
    after = calls_of(a_world, "2025-03-03")
    assert after[0] == before[0] | {"sale_cost": 1.5, "tags": []}
    assert after[1:-1] == before[2:]
    assert after[-1] == dict.fromkeys(before[0]) | {
        "id": 7,
        "start_time": "2025-03-03 12:00:00",
        "finish_time": "2025-03-03 12:01:00",
    }
    sections = a_world.sections(CALLS, "2025-03-01 00:00:00", "2025-03-31 23:59:59", {})
    assert sections[2].count == len(before)
    assert calls_of(a_world, "2025-03-04") == calls_of(world(), "2025-03-04")


def test_lists_can_be_changed_too() -> None:
    """A renamed and a deleted campaign are seen by later readers."""
    a_world = world()
    a_world.change("get.campaigns", 77001, {"name": "Новое имя"})
    a_world.delete("get.campaigns", 77002)
    names = {row["id"]: row["name"] for row in a_world.rows("get.campaigns")}
    assert names[77001] == "Новое имя"
    assert 77002 not in names


def test_deleted_rows_come_back() -> None:
    """A row that was deleted is there again when restored, with the changes made to it meanwhile."""
    a_world = world()
    before = a_world.rows("get.campaigns")
    a_world.delete("get.campaigns", 77001)
    a_world.change("get.campaigns", 77001, {"name": "Новое имя"})
    assert a_world.rows("get.campaigns") == [row for row in before if row["id"] != 77001]
    a_world.restore("get.campaigns", 77001)
    assert a_world.rows("get.campaigns") == [
        row | {"name": "Новое имя"} if row["id"] == 77001 else row for row in before
    ]
    with pytest.raises(ValueError, match="with the key 77001 was deleted"):
        a_world.restore("get.campaigns", 77001)


def test_a_row_moves_to_another_day() -> None:
    """A row added under the key of a deleted one stayed hidden: a call could not move to another day."""
    a_world = world()
    call = calls_of(a_world, "2025-03-03")[0]
    moved = call | {"start_time": "2025-03-04 10:00:00", "finish_time": "2025-03-04 10:01:00"}
    for _ in range(2):
        a_world.delete(CALLS, call["id"])
        assert call["id"] not in {row["id"] for row in calls_of(a_world, "2025-03-03", "2025-03-04")}
        a_world.add(CALLS, moved)
        assert [row for row in calls_of(a_world, "2025-03-03", "2025-03-04") if row["id"] == call["id"]] == [moved]


def test_a_row_without_its_time_cannot_be_added() -> None:
    """A row that would stand on no day is refused by name."""
    with pytest.raises(ValueError, match="needs start_time"):
        world().add(CALLS, {"id": 7})


@pytest.mark.parametrize("columns", [{"start_time": "2025-03-04 00:00:00"}, {"id": 8}])
def test_the_place_of_a_row_cannot_change(columns: Row) -> None:
    """The key and the time of a row stay as they are."""
    with pytest.raises(ValueError, match="cannot change"):
        world().change(CALLS, 7, columns)
