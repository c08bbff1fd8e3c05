"""The environment of Dagster's processes: which dagster.yaml is used, and which variables they get.

People export such variables for other projects. An instance of another project is never opened, because opening it
upgrades its storage and writes our runs into it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

import comagic_pipeline
from comagic_pipeline.config import STORAGE_VARIABLE as STORAGE_VARIABLE
from comagic_pipeline.config import ConfigError

HOME_VARIABLE = "DAGSTER_HOME"
PROJECT_FOLDER = Path(comagic_pipeline.__file__).parent.parent
"""The folder of dagster.yaml and workspace.yaml."""

_SETTINGS = "dagster.yaml"
LEAST_TIMEOUT = 600
"""Seconds that Dagster's processes wait for the code server: a launch of 91 days of 65 assets took 149 on a busy
machine, and Dagster's own limit is 60."""
TIMEOUTS = (
    "DAGSTER_GRPC_TIMEOUT_SECONDS",
    "DAGSTER_REPOSITORY_GRPC_TIMEOUT_SECONDS",
    "DAGSTER_SCHEDULE_GRPC_TIMEOUT_SECONDS",
    "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS",
)


def instance_home() -> str:
    """Return the folder of dagster.yaml: the project's, or that of DAGSTER_HOME if its storage is the project's too.

    Raises ConfigError for the home of another project. Only looks.
    """
    given = os.environ.get(HOME_VARIABLE)
    if not given:
        return str(PROJECT_FOLDER)
    home = Path(given).expanduser()
    if os.path.realpath(home) == os.path.realpath(PROJECT_FOLDER):
        return str(PROJECT_FOLDER)
    if _takes_our_storage(_settings(home).get("storage")):
        return os.path.realpath(home)
    raise ConfigError(
        f"{HOME_VARIABLE} {given} is not the home of this project, whose instance would be changed: unset "
        f"{HOME_VARIABLE}, or put a {_SETTINGS} there that takes its storage from {STORAGE_VARIABLE}, as "
        f"{PROJECT_FOLDER / _SETTINGS} does"
    )


def _settings(home: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError, yaml.YAMLError):
        found = yaml.safe_load((home / _SETTINGS).read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _takes_our_storage(section: object) -> bool:
    """Return whether a part of dagster.yaml names our variable: what is stored there is then ours."""
    if not isinstance(section, dict):
        return False
    return section.get("env") == STORAGE_VARIABLE or any(map(_takes_our_storage, section.values()))


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables for this process and its children while the block lasts, and take away what is foreign.

    Of the variables that Dagster reads, those stay that the dagster.yaml in use names.
    """
    before = dict(os.environ)
    named = set(re.findall(r"\bDAGSTER_\w+", (Path(values[HOME_VARIABLE]) / _SETTINGS).read_text(encoding="utf-8")))
    foreign = [name for name in before if name.startswith("DAGSTER_") and name not in named]
    for variable in foreign:
        del os.environ[variable]
    changed = {variable: _timeout(before.get(variable)) for variable in TIMEOUTS} | dict(values)
    os.environ.update(changed)
    try:
        yield
    finally:
        for variable in changed:
            os.environ.pop(variable, None)
        os.environ.update({name: before[name] for name in (*foreign, *changed) if name in before})


def _timeout(given: str | None) -> str:
    return str(max(LEAST_TIMEOUT, int(given))) if given and given.isdecimal() else str(LEAST_TIMEOUT)
