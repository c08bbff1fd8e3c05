"""Count the rows of a report in a period by the total that comes with every answer, at a point."""

from collections.abc import Mapping
from datetime import date, datetime, time
from typing import Any

from comagic_pipeline.api.client import Client
from comagic_pipeline.catalog import Method


def count_rows(
    client: Client, method: Method, params: Mapping[str, Any], first_day: date, last_day: date
) -> int | None:
    """Return the API's count of the rows of these days, both included; None where it does not count.

    The period ends with the last second of the day: whether `date_till` belongs to it is not documented, so that rows
    of that second may be counted or not. Raises what Client.call raises; costs a point.
    """
    end = datetime.combine(last_day, time(23, 59, 59))
    return count_between(client, method, params, datetime.combine(first_day, time()), end)


def count_between(
    client: Client, method: Method, params: Mapping[str, Any], start: datetime, end: datetime
) -> int | None:
    """Return the API's count of the rows from a second to a second; None where it does not count."""
    answer = client.call(
        method.name,
        {
            **params,
            "date_from": f"{start:%Y-%m-%d %H:%M:%S}",
            "date_till": f"{end:%Y-%m-%d %H:%M:%S}",
            "limit": 1,
            "offset": 0,
            "fields": [column.name for column in method.columns if column.name in method.required_columns],
        },
    )
    return answer.total_items
