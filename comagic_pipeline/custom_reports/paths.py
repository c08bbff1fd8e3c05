"""Paths: where in a row of a report a value stands.

    utm_source                      a field of the row
    integrated_campaign_data.adv_system    a key of an object
    tags[0].tag_name                an item of an array, counted from 0
    $.id                            a field of the whole row, from within a table of an array's items
    @                               the item itself, in a table of the items of an array

`rows` of a table is a path too: one that ends in [], an array whose items are the rows.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from comagic_pipeline.catalog import Column, ColumnType, Method
from comagic_pipeline.core.suggestions import nearest

_SEGMENT = re.compile(r"([^\s.\[\]@$]+)((?:\[\d*\])*)")

Key = str | int | None
"""A step of a path: a key of an object, the number of an item, or None for all items of an array."""


class PathError(ValueError):
    """A path is not understood, or leads to nothing that the report has."""


@dataclass(frozen=True)
class Path:
    """A path: steps from the whole row (`is_absolute`) or from the item that the table has a row for."""

    text: str
    steps: tuple[Key, ...]
    is_absolute: bool

    @property
    def is_of_items(self) -> bool:
        """True when it leads to all items of an array."""
        return None in self.steps


def parse_path(text: str) -> Path:
    """Read a path; raises PathError when it is none."""
    if text == "@":
        return Path(text, (), False)
    relative = text.removeprefix("$.")
    steps: list[Key] = []
    for segment in relative.split("."):
        match = _SEGMENT.fullmatch(segment)
        if match is None:
            raise PathError(f"{text!r} is no path; write a field, or tags[0].tag_name, or $.id")
        steps.append(match[1])
        steps += [int(number) if number else None for number in re.findall(r"\[(\d*)\]", match[2])]
    return Path(text, tuple(steps), relative != text)


@dataclass(frozen=True)
class Place:
    """What a path leads to, as far as the catalog knows: `column` None where it tells nothing of what is inside."""

    type: ColumnType
    description: str
    nested: tuple[Column, ...] = ()
    item: ColumnType | None = None
    is_array: bool = False
    is_known: bool = True


def whole_row(method: Method) -> Place:
    """Return the row of a report as a place from which paths begin."""
    return Place(ColumnType.JSON, method.description, method.columns)


def follow(place: Place, path: Path, name: str = "") -> Place:
    """Return the place that a path leads to from another; raises PathError with the nearest name when there is none.

    `name` is what the place is called, where it is not the whole row.
    """
    done = name
    for step in path.steps:
        if isinstance(step, str):
            place = _field(place, step, done)
            done = f"{done}.{step}".lstrip(".")
        else:
            if place.is_known and not place.is_array:
                raise PathError(f"{done} is no array: {path.text!r} leads nowhere")
            done += f"[{'' if step is None else step}]"
            item = ColumnType.JSON if place.item is None else place.item
            place = Place(item, place.description, place.nested, is_known=bool(place.nested or place.item))
    return place


def _field(place: Place, name: str, done: str) -> Place:
    if not place.is_known:
        return Place(ColumnType.JSON, "", is_known=False)
    if place.is_array:
        raise PathError(f"{done} is an array: write {done}[0].{name}, or make a table with rows: {done}[]")
    for column in place.nested:
        if column.name == name:
            is_known = column.type is not ColumnType.JSON or bool(column.nested or column.item)
            return Place(column.type, column.description, column.nested, column.item, column.is_array, is_known)
    if not place.nested:
        raise PathError(f"{done} holds nothing else: {name!r} is not in it")
    what = f"{done} has no {name!r}" if done else f"the report has no field {name!r}"
    raise PathError(f"{what}{nearest(name, [column.name for column in place.nested])}")


def value_at(steps: Sequence[Key]) -> Callable[[Any], Any]:
    """Return what is found by following steps through decoded JSON; None where there is nothing."""

    def find(value: Any) -> Any:
        for step in steps:
            if isinstance(step, str):
                value = value.get(step) if isinstance(value, dict) else None
            elif isinstance(value, list) and isinstance(step, int):
                value = value[step] if step < len(value) else None
            else:
                value = None
        return value

    return find


def items_at(steps: Sequence[Key]) -> Callable[[Any], list[Any]]:
    """Return all items that steps lead to, in their order; nothing where null, [] or {} stands for no items.

    Raises ValueError when something that is no array stands where one should.
    """

    def find(value: Any) -> list[Any]:
        found = [value]
        for step in steps:
            if step is None:
                arrays = [each for each in found if each not in (None, {})]
                if not all(isinstance(each, list) for each in arrays):
                    raise ValueError("no array")
                found = [item for array in arrays for item in array]
            else:
                found = [value_at((step,))(each) for each in found]
        return found

    return find
