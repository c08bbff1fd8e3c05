"""The configuration: a module for each section of comagic.yaml, validated before anything is touched.

`${NAME}` stands for an environment variable. It is resolved when the value is used, so that definitions load without
secrets, and its value is never shown. No SQLAlchemy, Dagster or HTTP here: they take seconds to import.
"""

from comagic_pipeline.config.custom_report import CustomReportSection, custom_report
from comagic_pipeline.config.file import (
    CONFIG_VARIABLE,
    DEFAULT_PATH,
    STORAGE_VARIABLE,
    Alerts,
    Config,
    clashes,
    config_path,
    load_config,
    parse_config,
)
from comagic_pipeline.config.source import (
    SANDBOX,
    SANDBOX_PORT,
    SANDBOX_URL_VARIABLE,
    DayPoints,
    Reconciliation,
    Retention,
    Source,
)
from comagic_pipeline.config.values import ConfigError, Setting, parse_day
from comagic_pipeline.config.warehouse import SchemaNames, WarehouseConfig

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_PATH",
    "SANDBOX",
    "SANDBOX_PORT",
    "SANDBOX_URL_VARIABLE",
    "STORAGE_VARIABLE",
    "Alerts",
    "Config",
    "ConfigError",
    "CustomReportSection",
    "DayPoints",
    "Reconciliation",
    "Retention",
    "SchemaNames",
    "Setting",
    "Source",
    "WarehouseConfig",
    "clashes",
    "config_path",
    "custom_report",
    "load_config",
    "parse_config",
    "parse_day",
]
