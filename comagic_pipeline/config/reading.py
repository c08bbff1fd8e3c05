"""YAML into keys and values, and mistakes in it into messages that name line, place and fix."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from comagic_pipeline.config.values import ConfigError
from comagic_pipeline.core.suggestions import nearest

Place = Sequence[str | int]
"""Where something stands: keys and numbers of items, from the top of the file."""


class Content:
    """The keys and values of a file, and the lines that they stand in."""

    def __init__(self, text: str, path: Path) -> None:
        """Raise ConfigError for what is no YAML; `path` stands at its beginning."""
        try:
            self._node = yaml.compose(text, Loader=_UniqueKeys)
            self.values = yaml.load(text, Loader=_UniqueKeys)  # noqa: S506
        except yaml.MarkedYAMLError as error:
            line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
            problem = error.problem
            if isinstance(error, yaml.composer.ComposerError) or "constructor for the tag" in str(problem):
                # YAML's own words show the text, which may be a password.
                problem = "a text that begins with *, & or ! needs quotes"
            raise ConfigError(f"{path}{line}: not valid YAML: {problem}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None

    def line(self, place: Place) -> int | None:
        """Return the number of the line of a place, or of what it would stand in; None when there is nothing of it."""
        node, line = self._node, None
        for part in place:
            key, node = _within(node, part)
            if key is None:
                break
            line = key.start_mark.line + 1
        return line


def _within(node: Any, part: str | int) -> tuple[Any, Any]:
    """Return the node that shows where a part of a node is, and the part itself; None when it is not there."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == part:
                return key, value
        shared = [value for key, value in node.value if key.tag == "tag:yaml.org,2002:merge"]
        return next((found for value in shared if (found := _within(value, part))[0] is not None), (None, None))
    if isinstance(node, yaml.SequenceNode):
        if isinstance(part, int):
            return (node.value[part], node.value[part]) if part < len(node.value) else (None, None)
        # Columns may be a list of their names.
        named = [item for item in node.value if isinstance(item, yaml.ScalarNode) and item.value == part]
        return (named[0], named[0]) if named else (None, None)
    return None, None


_MENDS = {
    "missing": "is missing",
    "date_from_datetime_parsing": "is no date; write it as YYYY-MM-DD",
    "date_from_datetime_inexact": "is no date; write it as YYYY-MM-DD",
    "date_parsing": "is no date; write it as YYYY-MM-DD",
    "date_type": "is no date; write it as YYYY-MM-DD",
    "int_parsing": "is no whole number",
    "int_type": "is no whole number",
    "bool_parsing": "write true or false",
    "bool_type": "write true or false",
    "string_type": "is no text; put it in quotes",
    "list_type": "is no list",
    "dict_type": "expected keys and values",
    "string_too_short": "is empty",
    "too_short": "is empty; name at least one",
    "model_type": "expected keys and values; see comagic.example.yaml",
}
_PATTERN_MENDS = {
    "views_prefix": "use letters, digits, _ and spaces, at most 16, beginning with none of the last",
}


def problem(details: Any, content: Content | None, keys: Sequence[str]) -> str:
    """Return one error of pydantic in words: the line and the place in the file, then what is wrong and how to mend it.

    `keys` are those that it may have; `content` is None for what stands in no file.
    """
    inner = ("literal[", "list[", "function-", "dict[")
    location = [part for part in details["loc"] if not str(part).startswith(inner)]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "sources"
    line = content.line(location) if content else None
    where = f"line {line}: {place}" if line else place
    if details["type"] == "extra_forbidden":
        return f"{where}: unknown key{nearest(str(location[-1]), keys)}"
    if details["type"] == "string_pattern_mismatch":
        usual = "use small letters, digits and _ only, beginning with a letter"
        return f"{where}: {_PATTERN_MENDS.get(str(location[-1]), usual)}"
    message = _MENDS.get(details["type"]) or details["msg"].removeprefix("Value error, ")
    return f"{where}: {message}"


_NUMBER = "tag:yaml.org,2002:int"
_LEFT_TO_US = ("tag:yaml.org,2002:timestamp", _NUMBER, "tag:yaml.org,2002:float")


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key may stand once, because the second `token:` would silently win.

    Dates stay texts and are checked later. Numbers are decimal: PyYAML reads 010 as 8, 1:30 as 90 and 1_0 as 10.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - an instance variable to the library's type stubs
        first: [resolver for resolver in resolvers if resolver[0] not in _LEFT_TO_US]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        nodes = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=deep) for key in nodes]
        for key, key_node in zip(keys, nodes, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep=deep)


_UniqueKeys.add_implicit_resolver(_NUMBER, re.compile(r"[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
