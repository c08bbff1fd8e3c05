"""Building blocks of sections: settings that may be secret, names, schedules, error messages."""

import os
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    GetCoreSchemaHandler,
    Strict,
    ValidationError,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, core_schema

from comagic_pipeline.core.cron import is_cron
from comagic_pipeline.core.suggestions import nearest

VARIABLE = re.compile(r"\$(?:\{([A-Za-z_][A-Za-z0-9_]*)\}|\$)")
"""`${NAME}` within a text, or `$$`, which stands for a dollar sign."""
_DOLLAR = re.compile(r"\$(?=[{A-Za-z_])")
"""What is left of `$NAME`, `${A-B}` or `${NAME` when variables and `$$` are taken out."""
_QUOTES = ("'", '"', "`")
FIRST_DAY, LAST_DAY = date(2000, 1, 1), date(2099, 12, 31)
"""The days that can be named. Others are typing errors: CoMagic was founded in 2009."""


class ConfigError(Exception):
    """The configuration is wrong: one line that names the place and the mend."""


class Setting(str):
    """Text of the config that may hold `${NAME}` and may be secret: it does not show itself."""

    __slots__ = ()

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Describe it to pydantic: a text that is not empty and whose variables are well written."""
        text = core_schema.str_schema(min_length=1)
        return core_schema.no_info_after_validator_function(lambda value: cls(_checked_variables(value)), text)

    def __repr__(self) -> str:
        return "Setting(***)"

    @property
    def has_variables(self) -> bool:
        """True when environment variables are part of the value."""
        return any(match[1] for match in VARIABLE.finditer(self))

    def resolve(self, place: str, environment: Mapping[str, str] | None = None, *, is_key: bool = False) -> str:
        """Return the text with its variables filled in, without white space around them.

        A key comes from a file, a page or a terminal: what was pasted with it is refused here because the API would
        only say that the key is wrong. With `is_key` no white space and only ASCII is accepted.
        Raises ConfigError that names the place and the variable, never the value.
        """
        variables = os.environ if environment is None else environment

        def value(match: re.Match[str]) -> str:
            if not match[1]:
                return "$"
            found = variables.get(match[1], "").strip()
            if not found:
                raise ConfigError(f"{place}: the environment variable {match[1]} is not set")
            return found

        text = VARIABLE.sub(value, self).strip()
        names = ", ".join(dict.fromkeys(match[1] for match in VARIABLE.finditer(self) if match[1]))
        if problem := _unusable(text, is_key=is_key):
            raise ConfigError(f"{place}: {f'the environment variable {names}' if names else 'the value'} {problem}")
        return text


def _checked_variables(text: str) -> str:
    # The text is not shown: it may be a password.
    if _DOLLAR.search(VARIABLE.sub("", text)):
        raise ValueError(
            "has a $ that begins no variable; write ${NAME} for an environment variable (letters, digits and _), "
            "or $$ for a dollar sign"
        )
    return text


def _unusable(text: str, *, is_key: bool) -> str | None:
    """Return why a value cannot be a key, a password or an address; None when it can."""
    if not text.isprintable():
        return "has a line feed or another character that cannot be seen in it; write it on one line"
    if len(text) > 1 and text[0] == text[-1] and text[0] in _QUOTES:
        return "is in quotes, which are no part of it; remove them"
    if is_key and not text.isascii():
        return "has a letter that is not ASCII in it; copy the key again"
    if is_key and any(character.isspace() for character in text):
        return "has a space in it; copy the key again"
    return None


WholeNumber = Annotated[int, Strict()]
"""A number as YAML 1.2 writes it: neither `true`, nor a text, nor 1.0."""
Switch = Annotated[bool, Strict()]
"""`true` or `false`."""


def parse_day(text: Any) -> date:
    """Return the day that a text `YYYY-MM-DD`, or a date, names.

    Raises ValueError with the rest of a sentence for other texts and values, and for days before 2000 or after 2099.
    """
    no_date = ValueError("is no date; write it as YYYY-MM-DD")
    if isinstance(text, date) and not isinstance(text, datetime):
        text = text.isoformat()
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise no_date
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise no_date from None
    if not FIRST_DAY <= day <= LAST_DAY:
        raise ValueError(f"is not between {FIRST_DAY} and {LAST_DAY}")
    return day


Day = Annotated[date, BeforeValidator(parse_day)]
"""A day as `YYYY-MM-DD`, which YAML leaves a text."""


def one_of(noun: str, known: Collection[str]) -> Callable[[list[str]], list[str]]:
    """Return a validator of a list of names that names all unknown ones and not only the first."""

    def check(names: list[str]) -> list[str]:
        mistakes = Mistakes()
        for number, name in enumerate(names):
            if name not in known:
                mistakes.add(f"there is no {noun} {name!r}{nearest(name, known)}", number)
        mistakes.raise_if_any()
        return names

    return check


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
        """Raise pydantic's ValidationError with all of them."""
        if self._found:
            raise ValidationError.from_exception_data("configuration", self._found, hide_input=True)


OFF = "off"
"""As a schedule: none."""


def _cron(schedule: str) -> str:
    if schedule != OFF and not is_cron(schedule):
        raise ValueError(f"{schedule!r} is no cron schedule; write five parts such as 30 5 * * *, or {OFF}")
    return schedule


# YAML takes a bare off for false.
Schedule = Annotated[str, BeforeValidator(lambda value: OFF if value is False else value), AfterValidator(_cron)]
"""When something comes again and again: cron by the source's clock, or OFF."""
