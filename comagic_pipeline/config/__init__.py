"""The configuration: what the file may say, a module for each section, checked before anything is touched.

`${NAME}` stands for an environment variable. It is looked up when the value is used, so that definitions load
without secrets, and its value is never shown.
"""

from comagic_pipeline.config.custom_report import CustomReportSection, custom_report
from comagic_pipeline.config.file import (
    CONFIG_VARIABLE,
    DEFAULT_PATH,
    PLANNED_KEYS,
    Config,
    clashes,
    config_path,
    load_config,
    parse_config,
)
from comagic_pipeline.config.source import SANDBOX, SANDBOX_PORT, SANDBOX_URL_VARIABLE, DayPoints, Source
from comagic_pipeline.config.values import ConfigError, Setting
from comagic_pipeline.config.warehouse import SchemaNames, WarehouseConfig

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_PATH",
    "PLANNED_KEYS",
    "SANDBOX",
    "SANDBOX_PORT",
    "SANDBOX_URL_VARIABLE",
    "Config",
    "ConfigError",
    "CustomReportSection",
    "DayPoints",
    "SchemaNames",
    "Setting",
    "Source",
    "WarehouseConfig",
    "clashes",
    "config_path",
    "custom_report",
    "load_config",
    "parse_config",
]
