"""What sections of the configuration are made of: settings that may be secret, names, the words of errors."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""`${NAME}` within a text."""


class ConfigError(Exception):
    """The configuration is wrong: one line that names the place and the mend."""


class Setting(str):
    """Text of the config that may hold `${NAME}` and may be secret: it does not show itself."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """To pydantic it is a text that is not empty."""
        return core_schema.no_info_after_validator_function(cls, core_schema.str_schema(min_length=1))

    def __repr__(self) -> str:
        return "Setting(***)"

    def resolve(self, place: str, environment: Mapping[str, str] | None = None) -> str:
        """The text with its variables filled in; raises ConfigError when one is missing or empty."""

        def value(match: re.Match[str]) -> str:
            found = (os.environ if environment is None else environment).get(match[1])
            if not found:
                raise ConfigError(f"{place}: the environment variable {match[1]} is not set")
            return found

        return VARIABLE.sub(value, self)


class Section(BaseModel):
    """Keys and values of the file; others are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Mistakes:
    """What a check finds wrong, each with its place: a validator that raises them tells all at once."""

    def __init__(self) -> None:
        self._found: list[InitErrorDetails] = []

    def add(self, message: str, *place: str | int) -> None:
        """Note one, at a place within what is checked."""
        # As the only thing put into a text: braces of the message would be taken for names.
        kind = PydanticCustomError("mistake", "{message}", {"message": message})
        self._found.append(InitErrorDetails(type=kind, loc=place, input=None))

    def raise_if_any(self) -> None:
        """Raises pydantic's ValidationError with all of them."""
        if self._found:
            raise ValidationError.from_exception_data("configuration", self._found, hide_input=True)


OFF = "off"
"""As a schedule: none."""


def _cron(schedule: str) -> str:
    if schedule != OFF:
        # Here, for Dagster takes its time to come: only who sets a schedule waits for it.
        from dagster._utils.schedules import is_valid_cron_schedule

        if not is_valid_cron_schedule(schedule):
            raise ValueError(f"{schedule!r} is no cron schedule; write five parts such as 30 5 * * *, or {OFF}")
    return schedule


# YAML takes a bare off for false.
Schedule = Annotated[str, BeforeValidator(lambda value: OFF if value is False else value), AfterValidator(_cron)]
"""When something comes again and again: cron by the source's clock, or OFF."""
