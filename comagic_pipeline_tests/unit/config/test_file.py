"""The configuration file: what it accepts, and one line that names the place and the mend for what it does not."""

import os
import re
from datetime import date
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from comagic_pipeline.config import (
    CONFIG_VARIABLE,
    Config,
    ConfigError,
    Setting,
    config_path,
    load_config,
    parse_config,
)

SECRET = "s3cret-Key"
GOOD = f"""\
warehouse:
  url: postgresql://user:{SECRET}@db.example/comagic
sources:
  - name: main
    account_id: 1
    base_url: https://dataapi.comagic.ru/v2.0
    token: {SECRET}
    start_date: 2026-01-01
"""


def parse(text: str) -> Config:
    """The configuration in a text."""
    return parse_config(text, Path("comagic.yaml"))


def refusal(text: str) -> str:
    """What is said about a wrong text, without the name of the file and the lines of its problems.

    It is one line that does not show the key.
    """
    with pytest.raises(ConfigError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith("comagic.yaml")
    assert "\n" not in message
    assert SECRET not in message
    assert caught.value.__cause__ is None
    return re.sub(r"line \d+: (?!not valid)", "", message.removeprefix("comagic.yaml").removeprefix(":").strip())


def test_a_minimal_file_gets_the_defaults() -> None:
    """Three schemas, Moscow time, all tables, a week of refreshing and a reserve of 300 points."""
    config = parse(GOOD)
    source = config.source("main")
    assert (config.warehouse.schemas.raw, config.warehouse.schemas.star) == ("comagic_raw", "comagic")
    assert (source.timezone, source.tables, source.refresh_days) == ("Europe/Moscow", "all", 7)
    assert (source.day_points.reserve, source.start_date) == (300, date(2026, 1, 1))
    assert config.state_folder == Path.cwd() / ".comagic"


def test_the_example_is_valid() -> None:
    """The file that users copy loads as it is."""
    config = load_config(Path(__file__).parents[3] / "comagic.example.yaml")
    assert [source.name for source in config.sources] == ["main"]


def test_yaml_merge_keys_share_settings_between_sources() -> None:
    """`<<` works, and a key of the source's own overrides the shared one."""
    shared = GOOD.replace("  - name: main", "  - &shared\n    name: main")
    config = parse(shared + "  - <<: *shared\n    name: other\n    account_id: 2\n")
    assert [(source.name, source.token) for source in config.sources] == [("main", SECRET), ("other", SECRET)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("    token:", "    tokn:", "sources[0].tokn: unknown key; did you mean 'token'?"),
        ("warehouse:", "warehose:", "warehose: unknown key; did you mean 'warehouse'?"),
        ("account_id: 1", "account_id: one", "sources[0].account_id: is no whole number"),
        ("account_id: 1", "account_id: 0", "sources[0].account_id: Input should be greater than or equal to 1"),
        ("account_id: 1", "account_id: 1\n    account_id: 2", "line 5: not valid YAML: the key 'account_id' stands"),
        ("name: main", "name: Main", "sources[0].name: use small letters, digits and _ only, beginning with a letter"),
        ("    account_id", "   account_id", "line 5: not valid YAML: expected <block end>, but found"),
        ("2026-01-01", "01.02.2026", "sources[0].start_date: is no date; write it as YYYY-MM-DD"),
        ("2026-01-01", "2026-02-30", "sources[0].start_date: is no date; write it as YYYY-MM-DD"),
        ("2026-01-01", "2026", "sources[0].start_date: is no date; write it as YYYY-MM-DD"),
        ("    start_date: 2026-01-01\n", "", "sources[0].start_date: is missing"),
        (f"token: {SECRET}", "token: 12345", "sources[0].token: is no text; put it in quotes"),
        (f"token: {SECRET}", "token: ''", "sources[0].token: is empty"),
        (f"    token: {SECRET}\n", "", "sources[0]: give token, or login and password"),
        ("    token:", "    login: me\n    token:", "sources[0]: give token, or login and password, not both"),
        (f"token: {SECRET}", "login: me", "sources[0]: give token, or login and password"),
        ("https://", "http://", "the key travels in the request: use https:// (http:// is for this machine only)"),
        ("https://", "https://user:pass@", "sources[0].base_url: an address holds no key; put it into token"),
        ("https://dataapi.comagic.ru/v2.0", "dataapi", "sources[0].base_url: write the address of the Data API"),
        ("comagic.ru/v2.0", "comagic.ru:port/v2.0", "sources[0].base_url: write the address of the Data API"),
        ("sources:", "sources: []\nx:", "sources: is empty; name at least one"),
        ("    account_id", "    timezone: Mosow\n    account_id", "write an IANA name such as Europe/Moscow"),
        ("    account_id", "    refresh_days: 100\n    account_id", "sources[0].refresh_days: Input should be less"),
        ("    account_id", "    day_points: 3\n    account_id", "sources[0].day_points: expected keys and values"),
        ("    account_id", "    tables: [calls_reprt]\n    account_id", "did you mean 'calls_report'?"),
        ("    account_id", "    tables: calls_report\n    account_id", "sources[0].tables: is no list"),
        ("    account_id", "    tables: []\n    account_id", "sources[0].tables: is empty; name at least one"),
        ("  url:", "  schemas: {raw: Raw}\n  url:", "warehouse.schemas.raw: use small letters, digits and _ only"),
        ("  url:", "  schemas: {raw: pg_raw}\n  url:", "warehouse.schemas.raw: 'pg_raw' belongs to PostgreSQL"),
        ("  url:", "  schemas: {raw: comagic}\n  url:", "warehouse.schemas: raw, star and ops need a schema each"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_mend(old: str, new: str, expected: str) -> None:
    """One line for one mistake."""
    assert GOOD.count(old) >= 1
    message = refusal(GOOD.replace(old, new, 1))
    assert expected in message
    assert message.count(";") <= expected.count(";") + 1


def test_every_unknown_name_of_a_list_is_named() -> None:
    """Of two typing errors in `tables:` only the first was named."""
    message = refusal(GOOD + "    tables: [calls_reprt, calls_report, campaings]\n")
    assert message == (
        "sources[0].tables[0]: there is no table 'calls_reprt'; did you mean 'calls_report'?; "
        "sources[0].tables[2]: there is no table 'campaings'; did you mean 'campaigns'?"
    )
    message = refusal(GOOD + "    reconciliation: {tables: [call, goal]}\n")
    assert message.startswith("sources[0].reconciliation.tables[0]: there is no report 'call'")
    assert "sources[0].reconciliation.tables[1]: there is no report 'goal'" in message


@pytest.mark.parametrize("number", ["010", "true", "1.0", "0x10", "1_0", "'7'", "1:30"])
def test_a_number_is_decimal(number: str) -> None:
    """`account_id: 010` became 8, `true` became 1: rows would have gone to another account."""
    message = refusal(GOOD.replace("account_id: 1", f"account_id: {number}"))
    assert message == "sources[0].account_id: is no whole number"
    assert parse(GOOD.replace("account_id: 1", "account_id: 10")).sources[0].account_id == 10


@pytest.mark.parametrize(
    ("day", "problem"),
    [
        ("1767225600", "is no date; write it as YYYY-MM-DD"),
        ("2026-1-1", "is no date; write it as YYYY-MM-DD"),
        ("2026-01-01T00:00:00", "is no date; write it as YYYY-MM-DD"),
        ("0001-01-01", "is not between 2000-01-01 and 2099-12-31"),
        ("9999-12-31", "is not between 2000-01-01 and 2099-12-31"),
    ],
)
def test_a_first_day_is_a_day_of_the_calendar(day: str, problem: str) -> None:
    """`start_date` took a Unix time, and 0001-01-01 ended in a traceback."""
    assert refusal(GOOD.replace("2026-01-01", day)) == f"sources[0].start_date: {problem}"


def test_retention_ends_within_the_calendar() -> None:
    """`keep_days: 800000` failed in a run, after the rows were loaded, with a date that does not exist."""
    message = refusal(GOOD + "    retention: {keep_days: 800000}\n")
    assert message == "sources[0].retention.keep_days: Input should be less than or equal to 36500"


@pytest.mark.parametrize("token", ["$NAME", "${A-B}", "${NAME", "a${}b", "$_x", "${1A}"])
def test_a_variable_that_is_written_wrongly_is_refused(token: str) -> None:
    """`$NAME`, `${A-B}` and an unclosed `${NAME` were sent to the API as the key."""
    message = refusal(GOOD.replace(f"token: {SECRET}", f'token: "{token}"'))
    assert message == (
        "sources[0].token: has a $ that begins no variable; write ${NAME} for an environment variable (letters, digits "
        "and _), or $$ for a dollar sign"
    )


def test_a_dollar_sign_is_written_twice() -> None:
    """A password may hold a dollar sign; one that begins no name may stand alone."""
    token = parse(GOOD.replace(f"token: {SECRET}", "token: pa$$word$1${X}$")).sources[0].token
    assert token is not None
    assert token.resolve("main.token", {"X": "$$y"}) == "pa$word$1$$y$"


@pytest.mark.parametrize("pasted", ["good\n", " good", "good\r\n", "\tgood\n\n"])
def test_white_space_around_a_key_is_cut_off(pasted: str) -> None:
    """A key from a file ends with a line feed: it was sent with the key, and the API called the key invalid."""
    token = parse(GOOD.replace(f"token: {SECRET}", "token: ${X}")).sources[0].token
    assert token is not None
    assert token.resolve("main.token", {"X": pasted}, is_key=True) == "good"
    url = parse(GOOD.replace(f"url: postgresql://user:{SECRET}@db.example/comagic", "url: ${X}")).warehouse.url
    assert url is not None
    assert url.resolve("warehouse.url", {"X": "postgresql://db/x \n"}) == "postgresql://db/x"


@pytest.mark.parametrize(
    ("pasted", "problem"),
    [
        (f"{SECRET}\n{SECRET}", "has a line feed or another character that cannot be seen in it; write it on one line"),
        (f"{SECRET}\x00", "has a line feed or another character that cannot be seen in it; write it on one line"),
        (f"'{SECRET}'", "is in quotes, which are no part of it; remove them"),
        (f'"{SECRET}"', "is in quotes, which are no part of it; remove them"),
        (f"{SECRET} {SECRET}", "has a space in it; copy the key again"),
        (f"{SECRET}\N{CYRILLIC SMALL LETTER ES}", "has a letter that is not ASCII in it; copy the key again"),
    ],
)
def test_a_key_that_was_pasted_wrongly_is_refused(pasted: str, problem: str) -> None:
    """A key with a line feed, a space or quotes in it was sent as it was."""
    token = parse(GOOD.replace(f"token: {SECRET}", "token: ${X}")).sources[0].token
    assert token is not None
    with pytest.raises(ConfigError) as caught:
        token.resolve("main.token", {"X": pasted}, is_key=True)
    assert str(caught.value) == f"main.token: the environment variable X {problem}"
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("sign", ["*", "!"])
def test_a_secret_that_yaml_takes_for_a_sign_is_not_shown(sign: str) -> None:
    """YAML reads `*key` and `!key` as its own and quotes them in its errors: ours name the line alone."""
    message = refusal(GOOD.replace(f"token: {SECRET}", f"token: {sign}{SECRET}"))
    assert message == "line 7: not valid YAML: a text that begins with *, & or ! needs quotes"


@pytest.mark.parametrize("text", ["", "[]", "just text", "3"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    """The error says which keys are expected."""
    assert refusal(text) == "expected the keys warehouse and sources; see comagic.example.yaml"


def test_all_mistakes_come_at_once() -> None:
    """A file with two mistakes is mended in one go."""
    message = refusal(GOOD.replace("name: main", "name: Main").replace("2026-01-01", "never"))
    assert "sources[0].name" in message
    assert "sources[0].start_date" in message


@pytest.mark.parametrize(("key", "value"), [("name", "main"), ("account_id", "1")])
def test_sources_must_differ(key: str, value: str) -> None:
    """Two sources with one name, or one id, would overwrite each other's rows."""
    other = GOOD.split("sources:\n")[1].replace("main", "other").replace("account_id: 1", "account_id: 2")
    same = {"name": other.replace("other", "main"), "account_id": other.replace("account_id: 2", "account_id: 1")}
    assert refusal(GOOD + same[key]) == f"sources: 2 sources have the {key} {value}: each needs its own"


def test_what_is_loaded_again_is_kept() -> None:
    """Retention must not delete what refreshing, comparing or a custom report loads: they would chase each other."""
    assert parse(GOOD + "    retention: {keep_days: 31}\n").sources[0].retention.keep_days == 31
    for more, needed in (("", "reconciliation.days, 30"), ("    refresh_days: 40\n", "refresh_days, 40")):
        message = refusal(GOOD + f"{more}    retention: {{keep_days: 30}}\n")
        assert message.startswith(f"sources[0]: retention.keep_days 30 must be more than {needed}: else it deletes")
    report = "custom_reports: [{name: x, report: calls_report, fields: all, refresh_days: 90}]\n"
    message = refusal(GOOD + "    retention: {keep_days: 60}\n" + report)
    assert message == "custom_reports[0].refresh_days: must be less than retention.keep_days of main, 60"


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ("{call_report: is_lost = true}", "there is no report 'call_report'; did you mean 'calls_report'?"),
        ("{campaigns: id = 1}", "there is no report 'campaigns'"),
        (
            "{calls_report: is_loss = true}",
            "filter of calls_report, character 1: calls_report has no such column; did you mean is_lost?",
        ),
        ("{calls_report: direction = }", "filter of calls_report, character 12: expected a text in single quotes"),
    ],
)
def test_a_wrong_filter_is_refused(filters: str, message: str) -> None:
    """The error names the place in the file and in the expression, and the nearest word."""
    assert refusal(GOOD + f"    filters: {filters}\n").startswith(
        f"sources[0].filters.{filters[1:].split(':')[0]}: {message}"
    )


def test_a_filter_of_a_table_that_is_not_loaded_is_refused() -> None:
    """A filter that does nothing would pass for one that works."""
    text = GOOD + "    tables: [campaigns]\n    filters: {calls_report: is_lost = true}\n"
    assert refusal(text) == "sources[0]: filters: calls_report is not among the tables of the source"


def test_the_customers_of_an_agent() -> None:
    """All or a list; their dictionaries exist for an agent only, and come with what asks for customers."""
    assert not parse(GOOD).sources[0].is_agent
    assert "customer_users" not in parse(GOOD).sources[0].chosen_tables
    agent = parse(GOOD + "    user_ids: all\n    tables: [calls_report]\n").sources[0]
    assert (agent.user_ids, set(agent.chosen_tables)) == ("all", {"calls_report", "customer_users"})
    assert parse(GOOD + "    user_ids: [5, 6]\n").sources[0].user_ids == [5, 6]
    for wrong in ("[]", "[0]", "some", "[a]"):
        assert refusal(GOOD + f"    user_ids: {wrong}\n").startswith("sources[0].user_ids")


def test_an_unknown_source_is_refused_with_a_suggestion() -> None:
    """The error offers the nearest name and lists all."""
    with pytest.raises(ConfigError, match="no source 'mian'; did you mean 'main'\\?; the config has: main"):
        parse(GOOD).source("mian")


def test_variables_are_looked_up_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file loads without its variables; the missing one is named with its place at the time of use."""
    monkeypatch.delenv("COMAGIC_TEST_KEY", raising=False)
    source = parse(GOOD.replace(f"token: {SECRET}", "token: a-${COMAGIC_TEST_KEY}-z")).source("main")
    assert source.token is not None
    with pytest.raises(ConfigError, match=r"^main\.token: the environment variable COMAGIC_TEST_KEY is not set$"):
        source.token.resolve("main.token")
    monkeypatch.setenv("COMAGIC_TEST_KEY", "")
    with pytest.raises(ConfigError, match="is not set"):
        source.token.resolve("main.token")
    monkeypatch.setenv("COMAGIC_TEST_KEY", "${HOME}")
    assert source.token.resolve("main.token") == "a-${HOME}-z"
    assert source.token.resolve("main.token", {"COMAGIC_TEST_KEY": "x"}) == "a-x-z"


@pytest.mark.parametrize("url", ["http://elsewhere.example/v2.0", "sandbox.example", "https://user:pw@x.example"])
def test_an_address_in_a_variable_is_checked_when_it_is_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key goes over plain HTTP to no other machine, also when the address comes from the environment."""
    monkeypatch.setenv("COMAGIC_TEST_URL", url)
    source = parse(GOOD.replace("https://dataapi.comagic.ru/v2.0", "${COMAGIC_TEST_URL}")).source("main")
    with pytest.raises(ConfigError, match=r"^sources\.main\.base_url: "):
        source.resolved_base_url()
    monkeypatch.setenv("COMAGIC_TEST_URL", "https://good.example/v2.0")
    assert source.resolved_base_url() == "https://good.example/v2.0"


def test_a_setting_does_not_show_itself() -> None:
    """Neither the representation of the config, nor pydantic's own errors, hold a secret."""
    config = parse(GOOD)
    assert SECRET not in repr(config)
    assert SECRET not in str(config)
    assert SECRET not in repr(config.sources[0])
    assert SECRET not in repr([config.sources[0].token])
    with pytest.raises(ValidationError) as caught:
        Config.model_validate({"sources": [{"token": SECRET, "start_date": SECRET, "bad": SECRET}]})
    assert SECRET not in str(caught.value)
    assert TypeAdapter(Setting).validate_python("x").resolve("place") == "x"


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    """The error names the file, and what to copy or set."""
    with pytest.raises(ConfigError, match=f"there is no such file; copy comagic.example.yaml .* {CONFIG_VARIABLE}"):
        load_config(tmp_path / "comagic.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match=r"latin\.yaml: cannot be read"):
        load_config(tmp_path / "latin.yaml")


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """COMAGIC_CONFIG, when it is set and not empty, else comagic.yaml here; the state lies beside the file."""
    (tmp_path / "my.yaml").write_text(GOOD)
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "my.yaml"))
    assert load_config().state_folder == tmp_path / ".comagic"
    monkeypatch.setenv(CONFIG_VARIABLE, "")
    assert config_path() == Path("comagic.yaml")
    assert os.environ[CONFIG_VARIABLE] == ""
