"""The section `custom_reports`: what it accepts, and for each mistake one message with its line, place and mend."""

import json
from pathlib import Path
from typing import Any

import pytest

from comagic_pipeline.catalog.table_names import REPORTS
from comagic_pipeline.config import Config, ConfigError, parse_config
from comagic_pipeline.custom_reports.names import asset_name, report_id
from comagic_pipeline.custom_reports.report import CustomReport

SOURCES = """\
sources:
  - {name: main, account_id: 1, base_url: sandbox, token: x, start_date: 2026-01-01, refresh_days: 5}
"""
SECOND = "  - {name: second, account_id: 2, base_url: sandbox, token: x, start_date: 2026-01-01}\n"


def parse(text: str) -> Config:
    return parse_config(text, Path("comagic.yaml"))


def reports(*sections: Any, sources: str = SOURCES) -> list[CustomReport]:
    """The reports of a configuration with these sections."""
    config = parse(f"{sources}custom_reports: {json.dumps(sections, ensure_ascii=False)}\n")
    return [report for source in config.sources for report in source.custom_reports]


def section(**changes: Any) -> dict[str, Any]:
    """A good section with some other values; None takes a key out."""
    good = {"name": "good", "report": "calls_report", "fields": ["id", "start_time", "tags", "utm_source"]}
    return {key: value for key, value in (good | changes).items() if value is not None}


def table(**changes: Any) -> dict[str, Any]:
    """A good table with some other values."""
    return {"table": "mine", "columns": {"id": "integer", "utm_source": "text"}} | changes


def structured(*tables: Any, **changes: Any) -> dict[str, Any]:
    return section(fields=None, structure=list(tables), **changes)


def test_a_short_section_gets_the_defaults() -> None:
    """Every night behind the base load, as many days as the source refreshes, JSON, free of points where possible."""
    (report,) = reports(section())
    assert (report.cron_schedule, report.refresh_days, report.reads_raw) == ("30 5 * * *", 5, True)
    assert report.home.table_names == ["comagic_reports"]
    assert report.fields == ("id", "start_time", "tags", "utm_source")
    (off,) = reports(section(schedule=False, refresh_days=0, from_raw=False, id=31267))
    assert (off.cron_schedule, off.refresh_days, off.reads_raw) == (None, 0, False)
    assert off.processor_id == 31267
    assert parse(f"{SOURCES}custom_reports:\n  - {{name: a, report: calls_report, fields: all, schedule: off}}").sources


def test_every_report_of_the_catalog_can_be_wanted_whole() -> None:
    """As JSON and as a table: no column of a report has a name that the tables need themselves."""
    for method in REPORTS:
        for structure in (None, "auto"):
            (report,) = reports(section(report=method.table, fields="all", structure=structure))
            assert set(report.fields) == {column.name for column in method.columns}


def test_columns_and_tables_may_be_written_short() -> None:
    """A list of names, one table without a list, types of the catalog, a table without a name."""
    (report,) = reports(section(fields=None, structure={"columns": ["id", "start_time", "tags"]}))
    (made,) = report.home.tables
    assert made.name == f"comagic_report_{report.processor_id}"
    assert [(column.name, str(column.type)) for column in made.columns] == [
        ("id", "integer"),
        ("start_time", "timestamp"),
        ("tags", "json"),
    ]
    assert made.key == ("id",)
    assert not made.may_repeat


def test_items_know_their_row_and_their_number() -> None:
    """By the key of the table of whole rows where it has one, else the report's; an own key counts within the row."""
    (alone,) = reports(structured(table(rows="tags[]", columns=["tag_id"])))
    assert alone.home.tables[0].key == ("parent_id", "position")
    parent = table(key=["call"], columns={"call": {"path": "id"}})
    items = table(table="items", rows="tags[]", key=["tag_id"], columns=["tag_id"])
    (both,) = reports(structured(items, parent))
    assert [made.key for made in both.home.tables] == [("call",), ("parent_call", "tag_id")]
    assert [made.may_repeat for made in both.home.tables] == [False, True]
    (repeated,) = reports(structured(table(key=["utm_source"])))
    assert repeated.home.tables[0].may_repeat


MISTAKES = [
    # Keys and simple values.
    (section(name=None), "custom_reports[0].name: is missing"),
    (section(name=""), "custom_reports[0].name: is empty"),
    (section(name="  "), "custom_reports[0].name: is empty"),
    (section(name="x" * 65), "custom_reports[0].name: String should have at most 64 characters"),
    (section(name="a\nb"), "custom_reports[0].name: has a character that cannot be seen; write it without"),
    (section(name=7), "custom_reports[0].name: is no text; put it in quotes"),
    (section(feilds=["id"]), "custom_reports[0].feilds: unknown key; did you mean 'fields'?"),
    (section(id=0), "custom_reports[0].id: Input should be greater than or equal to 1"),
    (section(id=2**31), "custom_reports[0].id: Input should be less than or equal to 2147483647"),
    (section(source="mian"), "custom_reports[0].source: there is no source 'mian'; did you mean 'main'?"),
    (section(report=None), "custom_reports[0].report: is missing"),
    (section(report="call_report"), "there is no report 'call_report'; did you mean 'calls_report'?"),
    (section(report="campaigns"), "custom_reports[0].report: there is no report 'campaigns'"),
    (section(refresh_days=-1), "custom_reports[0].refresh_days: Input should be greater than or equal to 0"),
    (section(refresh_days="many"), "custom_reports[0].refresh_days: is no whole number"),
    (section(from_raw="perhaps"), "custom_reports[0].from_raw: write true or false"),
    (section(schedule="daily"), "custom_reports[0].schedule: 'daily' is no cron schedule; write five parts such as"),
    (section(schedule="61 5 * * *"), "custom_reports[0].schedule: '61 5 * * *' is no cron schedule"),
    # Fields and filter.
    (section(fields=None), "custom_reports[0].fields: is missing; list them, or write all"),
    (section(fields=[]), "custom_reports[0].fields: is empty; name at least one"),
    (section(fields="id"), "custom_reports[0].fields: is no list"),
    (section(fields=["id", "utm_sorce"]), "[1]: calls_report has no field 'utm_sorce'; did you mean 'utm_source'?"),
    (section(fields=["id", "id"]), "custom_reports[0].fields[1]: id stands twice"),
    (section(fields=["tags.tag_id"]), "calls_report has no field 'tags.tag_id'; ask for tags, which comes whole"),
    (section(filter="is_loss = true"), "calls_report has no such column; did you mean is_lost?"),
    (section(filter="direction ="), "custom_reports[0].filter: filter of calls_report, character 12: expected a text"),
    # Tables.
    (section(structure="automatic"), "custom_reports[0].structure: is no list"),
    (section(structure=[]), "custom_reports[0].structure: is empty; name at least one"),
    (structured(table(columns={})), "custom_reports[0].structure[0].columns: is empty; name at least one"),
    (structured({"table": "mine"}), "custom_reports[0].structure[0].columns: is missing"),
    (structured(table(colums=1)), "custom_reports[0].structure[0].colums: unknown key; did you mean 'columns'?"),
    (structured(table(table="my table")), "structure[0].table: 'my table' is no name: use letters, digits and _, "
     "beginning with a letter, such as 'my_table'"),
    (structured(table(table='x"; drop table y; --')), "structure[0].table: 'x\"; drop table y; --' is no name"),
    (structured(table(table="1st")), "structure[0].table: '1st' is no name"),
    (structured(table(table="я" * 28)), "has 56 bytes, 55 fit (a Russian letter takes two)"),
    (structured(table(table="comagic_calls")), "'comagic_calls' is a table of the pipeline or of PostgreSQL"),
    (structured(table(table="mine_2026_01")), "'mine_2026_01' ends like the name of a month's part of a table"),
    (structured(table(), table()), "structure[1].table: the name stands twice; give each table its own"),
    (structured(table(columns={"loaded_at": {"path": "id"}})), "every such table has a column 'loaded_at' of its own"),
    (structured(table(rows="tags[]", columns={"position": {"path": "tag_id"}})), "has a column 'position' of its own"),
    (structured(table(columns={"Id": {"path": "id"}, "id": None})), "'id' and 'Id' differ in letter case only"),
    (structured(table(columns=["id", "id"])), "structure[0].columns: 'id' stands twice"),
    (structured(table(columns={"id": "intger"})), "columns.id: there is no type 'intger'; did you mean 'integer'?"),
    (structured(table(columns={"x": {"path": "utm_sorce"}})), "columns.x.path: the report has no field 'utm_sorce'"),
    (structured(table(columns={"tag_id": None})), "columns.tag_id: the report has no field 'tag_id'"),
    (structured(table(columns={"x": {"path": "tags.tag_id"}})), "tags is an array: write tags[0].tag_id, or make a "
     "table with rows: tags[]"),
    (structured(table(columns={"x": {"path": "tags[].tag_id"}})), "'tags[].tag_id' leads to several values; make a "
     "table with rows: tags[]"),
    (structured(table(columns={"x": {"path": "utm_source.name"}})), "utm_source holds nothing else: 'name'"),
    (structured(table(columns={"x": {"path": "a..b"}})), "columns.x.path: 'a..b' is no path; write a field, or"),
    (structured(table(columns={"x": {"path": "@"}})), "columns.x.path: @ is the item of an array; this table has none"),
    (structured(table(columns={"tags": "integer"})), "tags is nested: its type can be json or text; for what is in it "
     "use rows: tags[]"),
    (structured(table(rows="tags")), "structure[0].rows: 'tags' names no items; write an array with [] behind it"),
    (structured(table(rows="id[]")), "structure[0].rows: id is no array: 'id[]' leads nowhere"),
    (structured(table(rows="tagz[]")), "structure[0].rows: the report has no field 'tagz'; did you mean 'tags'?"),
    (structured(table(rows="tags[]", columns=["tag_nme"])), "columns.tag_nme: tags[] has no 'tag_nme'; did you mean"),
    (structured(table(key=["call_id"])), "structure[0].key[0]: the table has no column 'call_id'"),
    (structured(table(key=["tags"], columns=["tags"])), "key[0]: tags holds json, which tells no rows apart"),
    (section(structure=[table(columns=["talk_duration"])]), "talk_duration is not among the fields; add it there"),
]  # fmt: skip


def refusal(*sections: Any, sources: str = SOURCES) -> str:
    """What is said: one line."""
    with pytest.raises(ConfigError) as caught:
        reports(*sections, sources=sources)
    message = str(caught.value)
    assert message.startswith("comagic.yaml: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("wrong", "said"), MISTAKES, ids=[said[:60] for _, said in MISTAKES])
def test_a_mistake_is_one_message_with_its_mend(wrong: dict[str, Any], said: str) -> None:
    """No more problems are told than there are."""
    message = refusal(wrong)
    assert said in message
    assert message.count("custom_reports[") == 1


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ([section(), section()], "custom_reports[1].name: 'good' becomes the asset good, as 'good' does"),
        ([section(name="Отчёт"), section(name="otchet")], "'otchet' becomes the asset otchet, as 'Отчёт' does"),
        ([section(id=5), section(name="b", id=5)], "custom_reports[1].id: 'b' and 'good' have the number 5"),
        (
            [structured(table()), structured(table(table="Mine"), name="b")],
            "custom_reports[1].structure: the table Mine belongs to 'good' already: choose another name",
        ),
        (
            [section(name="Calls report")],
            "'Calls report' becomes the asset calls_report, which is a table of the pipeline",
        ),
    ],
)
def test_reports_must_not_get_into_each_others_way(sections: list[Any], said: str) -> None:
    """Assets, numbers and tables are one report's alone."""
    assert said in refusal(*sections)


def test_a_source_is_named_where_there_are_several() -> None:
    """One name may stand for a report of each source."""
    assert "custom_reports[0].source: is missing; name one of main, second" in refusal(
        section(), sources=SOURCES + SECOND
    )
    both = reports(section(source="main"), section(source="second"), sources=SOURCES + SECOND)
    assert [(report.account_id, report.asset_name) for report in both] == [(1, "good"), (2, "good")]
    assert both[0].processor_id != both[1].processor_id


def test_all_mistakes_come_at_once_with_their_lines() -> None:
    """Of several reports, of all kinds: everything can be mended in one go."""
    text = f"""\
{SOURCES}custom_reports:
  - name: first
    report: calls_report
    fields:
      - id
      - utm_sorce
    filter: is_loss = true
    structure:
      - table: my table
        key: [calls]
        columns:
          id: intger
          x: {{path: tagz}}
  - name: second
    source: mian
    report: visits
    schedule: never
    fields: all
"""
    with pytest.raises(ConfigError) as caught:
        parse(text)
    lines = [
        "line 8: custom_reports[0].fields[1]",
        "line 9: custom_reports[0].filter",
        "line 17: custom_reports[1].source",
        "line 18: custom_reports[1].report",
        "line 19: custom_reports[1].schedule",
    ]
    assert [said for said in lines if said not in str(caught.value)] == []
    with pytest.raises(ConfigError) as caught:
        parse(text.replace("utm_sorce", "tags").replace("is_loss", "is_lost").partition("  - name: second")[0])
    lines = [
        "line 11: custom_reports[0].structure[0].table",
        "line 12: custom_reports[0].structure[0].key[0]",
        "line 14: custom_reports[0].structure[0].columns.id",
        "line 15: custom_reports[0].structure[0].columns.x.path",
    ]
    assert [said for said in lines if said not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sessions_by_utm", "sessions_by_utm"),
        ("Звонки по меткам", "zvonki_po_metkam"),
        ("select", "select"),
        ('x"; drop table comagic_reports; --', "x_drop_table_comagic_reports"),
        ("O'Brien's «отчёт»", "o_brien_s_otchet"),
        ("2026 год", "report_2026_god"),
        ("日本", "riben"),
        ("a__b--c", "a_b_c"),
        ("../../etc/passwd", "etc_passwd"),
        ("%s {name} $x", "s_name_x"),
    ],
)
def test_names_of_assets_are_safe(name: str, expected: str) -> None:
    """Latin letters, digits and single underscores, beginning with a letter, whatever the report is called."""
    (report,) = reports(section(name=name))
    assert report.asset_name == expected
    assert report.name == name


def test_names_that_leave_nothing_or_are_long_get_the_number() -> None:
    """64 letters of Cyrillic, and signs alone: safe, different for different names, the same each time."""
    long = "Щ" * 64
    (first,) = reports(section(name=long))
    (second,) = reports(section(name=long[:-1] + "ш"))
    assert first.asset_name.endswith(f"_{first.processor_id}")
    assert first.asset_name != second.asset_name
    assert len(first.asset_name) <= 60
    assert asset_name("!?", 17) == "report_17"
    assert report_id(1, "й") == report_id(1, "й".encode().decode()) == report_id(1, "й")
    assert report_id(1, "a") != report_id(2, "a")
    assert 1_000_000 <= report_id(1, "a") < 2**31
