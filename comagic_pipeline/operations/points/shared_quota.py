"""One record of a key's remaining points, shared by all processes through the warehouse."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from comagic_pipeline.api.quota import SPANS, Allowance, Clock, Known, Request, utc_now
from comagic_pipeline.catalog import methods
from comagic_pipeline.config import Source
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline.warehouse.ops import quota


class SharedBook:
    """The page of a key (`key_id`) in the warehouse, for one source that uses the key.

    Points are counted for the source, the day on its clock and `run_id` (empty for a command).
    """

    def __init__(self, warehouse: Warehouse, source: Source, key: str, run_id: str, clock: Clock = utc_now) -> None:
        self._warehouse, self._source, self._run_id, self._clock = warehouse, source, run_id, clock
        self._key_id = key

    @contextmanager
    def open(self) -> Iterator[Known]:
        """Provide the page, for nobody else while the block lasts.

        What is changed in it is kept when the block ends.
        """
        with self._warehouse.begin() as connection:
            line, under_way = quota.lock_key(connection, self._key_id)
            known = _known(line)
            known.under_way = {row.ticket: Request(row.method, row.sent_at, row.answers) for row in under_way}
            before = set(known.under_way)
            yield known
            sent = [
                {"ticket": ticket, "run_id": self._run_id, **vars(known.under_way[ticket])}
                for ticket in known.under_way.keys() - before
            ]
            quota.save_key(
                connection, self._key_id, _columns(known), sent=sent, answered=before - known.under_way.keys()
            )
            day = self._clock().astimezone(self._source.zone).date()
            for method, points in Counter(known.spent).items():
                quota.add_points(
                    connection,
                    account_id=self._source.account_id,
                    day=day,
                    table_name=methods()[method].table if method in methods() else method,
                    run_id=self._run_id,
                    points=points,
                )


def key_id(base_url: str, secret: str) -> str:
    """Return the name of a key in the book: the same for all who use it, and nothing that opens anything."""
    return hashlib.sha256(f"comagic_pipeline\n{base_url}\n{secret}".encode()).hexdigest()[:16]


def known_points(warehouse: Warehouse, key: str, now: datetime) -> Known:
    """Return what is known of a key's points, without a request."""
    with warehouse.connect() as connection:
        line = quota.read_key(connection, key)
    known = _known(line) if line else Known()
    known.renew(now)
    return known


def _known(line: Row[Any]) -> Known:
    names = Allowance.__dataclass_fields__
    allowances = {span: Allowance(*(getattr(line, f"{span}_{name}") for name in names)) for span in SPANS}
    return Known(allowances, line.answers, line.told_at)


def _columns(known: Known) -> dict[str, Any]:
    columns: dict[str, Any] = {"answers": known.answers, "told_at": known.told_at}
    for span, allowance in known.allowances.items():
        columns |= {f"{span}_{name}": value for name, value in vars(allowance).items()}
    return columns
