"""How many rows a report has in a period, by the count that comes with every answer: a point, whatever there is."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from comagic_pipeline.api.client import Client
from comagic_pipeline.catalog import Method


def count_rows(
    client: Client, method: Method, params: Mapping[str, Any], first_day: date, last_day: date
) -> int | None:
    """The API's count of the rows of these days, both included; None where it does not count.

    The period ends with the last second of the day: whether `date_till` belongs to it is not documented (README,
    "Is date_till inclusive"), so that rows of that second may be counted or not. Raises what Client.call raises.
    """
    answer = client.call(
        method.name,
        {
            **params,
            "date_from": f"{first_day} 00:00:00",
            "date_till": f"{last_day} 23:59:59",
            "limit": 1,
            "offset": 0,
            "fields": [column.name for column in method.columns if column.name in method.required_columns],
        },
    )
    return answer.total_items
