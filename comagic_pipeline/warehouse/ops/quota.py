"""The book of points in SQL: what the API last said of a key, the requests under way, where the points went.

What follows from it is not decided here. Nothing is lost that could not be learnt again from the next answer, so that
commits here do not wait for the disk.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, text, update
from sqlalchemy.dialects import postgresql

from comagic_pipeline.warehouse.ops.tables import key_points, points_spent, requests_under_way


def lock_key(connection: Connection, key_id: str) -> tuple[Row[Any], Sequence[Row[Any]]]:
    """Return the line of a key and its requests under way; until the transaction ends nobody else gets them."""
    connection.execute(text("set local synchronous_commit = off"))
    query = select(key_points).where(key_points.c.key_id == key_id).with_for_update()
    line = connection.execute(query).one_or_none()
    if line is None:
        connection.execute(_add_key, {"key_id": key_id, "answers": 0})
        line = connection.execute(query).one()
    of_key = requests_under_way.c.key_id == key_id
    return line, connection.execute(select(requests_under_way).where(of_key)).all()


def read_key(connection: Connection, key_id: str) -> Row[Any] | None:
    """Return the line of a key as it is; None before its first request."""
    return connection.execute(select(key_points).where(key_points.c.key_id == key_id)).one_or_none()


def save_key(
    connection: Connection,
    key_id: str,
    values: Mapping[str, Any],
    *,
    sent: Iterable[Mapping[str, Any]],
    answered: Collection[str],
) -> None:
    """Write the line of a key and what changed of its requests: those `sent`, and the tickets of those `answered`."""
    connection.execute(update(key_points).where(key_points.c.key_id == key_id).values(values))
    if answered:
        connection.execute(delete(requests_under_way).where(requests_under_way.c.ticket.in_(answered)))
    for request in sent:
        connection.execute(insert(requests_under_way).values(key_id=key_id, **request))


def add_points(
    connection: Connection, *, account_id: int, day: date, table_name: str, run_id: str, points: int
) -> None:
    """Count points of a day's account, table and run."""
    values = {"account_id": account_id, "day": day, "table_name": table_name, "run_id": run_id, "points": points}
    connection.execute(_add_points, values)


_add_key = postgresql.insert(key_points).on_conflict_do_nothing()
_insert_points = postgresql.insert(points_spent)
_add_points = _insert_points.on_conflict_do_update(
    constraint=points_spent.primary_key,
    set_={"points": points_spent.c.points + _insert_points.excluded.points},
)
