"""What the command line refuses before it opens anything."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from comagic_pipeline.cli.main import cli
from comagic_pipeline.config import CONFIG_VARIABLE, ConfigError

CONFIG = "sources:\n  - {name: main, account_id: 1, base_url: sandbox, start_date: 2026-03-01, token: x}\n"
COMMANDS = ("load", "report", "reconcile")


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration, which is read before the options."""
    path = tmp_path / "comagic.yaml"
    path.write_text(CONFIG)
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31", "2026-1-1", "2026-02-30", "20260101", "", "today"])
def test_a_day_is_a_day_of_the_calendar(command: str, day: str) -> None:
    """`--from 0001-01-01` ended in a traceback, and 2026-1-1 was taken for a day."""
    result = CliRunner().invoke(cli, [command, "--from", day])
    assert result.exit_code == 2
    assert f"Invalid value for '--from': {day!r} is no" in result.output


@pytest.mark.parametrize("arguments", [*([command] for command in ("load", "reconcile", "retention")), ["report", "x"]])
def test_an_empty_name_is_no_source(arguments: list[str]) -> None:
    """`--source ""`, which a variable that is not set makes, took the first source."""
    result = CliRunner().invoke(cli, [*arguments, "--source", ""])
    assert isinstance(result.exception, ConfigError)
    assert str(result.exception) == "there is no source ''; the config has: main"
