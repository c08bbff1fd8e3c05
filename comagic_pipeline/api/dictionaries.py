"""Whole dictionaries (campaigns, tags, ...): lists without a period, read in pages, proven by the API's own count."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from comagic_pipeline.api.client import Client
from comagic_pipeline.api.errors import IncompleteAnswerError
from comagic_pipeline.api.requests import PAGE_ROWS, RowRequests
from comagic_pipeline.api.rows import Rejected, Row
from comagic_pipeline.catalog import Method

TRIES = 5
"""How often a dictionary that changes while it is read is begun anew."""


class DictionaryReader:
    """Reads one dictionary of one account; `params` go with every request (user_id, filter, ...).

    `warnings` holds what a person should know though nothing failed; `points` counts successful requests. Pages have
    `page_rows` rows.
    """

    def __init__(
        self,
        client: Client,
        method: Method,
        zone: tzinfo,
        params: Mapping[str, Any] | None = None,
        *,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        self.method = method
        # Pages of an ordered list do not shift; the key serves best where the API can sort by it.
        sortable = [column.name for column in method.columns if column.sortable]
        sort = next((name for name in method.key if name in sortable), sortable[0] if sortable else None)
        self._requests = RowRequests(client, method, zone, params, sort, page_rows)

    @property
    def warnings(self) -> list[str]:
        """What a person should know though nothing failed."""
        return self._requests.warnings

    @property
    def points(self) -> int:
        """The points spent so far."""
        return self._requests.points

    def read(self) -> tuple[list[Row], list[Rejected]]:
        """All rows, each key once, and what was rejected.

        Raises IncompleteAnswerError when the rows do not add up to the API's count after several tries, and what
        Client.call raises.
        """
        for _ in range(TRIES):
            rows: dict[Any, Row] = {}
            rejected: list[Rejected] = []
            totals: set[int | None] = set()
            read = unstorable = 0
            while True:
                answer = self._requests.page(read)
                totals.add(answer.total)
                rows.update(self._requests.distinct(answer.rows))
                rejected += answer.rejected
                unstorable += answer.counted - len(answer.rows)
                read += answer.counted
                is_read = answer.total is not None and read >= answer.total
                if answer.is_whole or is_read or len(totals) > 1 or not answer.counted:
                    break
            if len(totals) == 1 and answer.total in (None, len(rows) + unstorable):
                return list(rows.values()), rejected
        raise IncompleteAnswerError(
            f"{self.method.name}: the API counts {answer.total} rows and hands out {len(rows) + unstorable}, "
            f"try after try ({TRIES}); nothing was written. Load it again later"
        )
