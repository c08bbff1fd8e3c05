"""Lists that only agents have: their customers and the users of these."""

from comagic_pipeline.sandbox.rows.cast import Cast
from comagic_pipeline.sandbox.specification import Row

_LIMITED = 2
"""The customer that has run into a limit."""


def customers(agent: Cast) -> list[Row]:
    """get.customers."""
    return [
        {
            "id": customer.customer_id,
            "name": f"Клиент {customer.customer}",
            "description": None,
            "creation_date_time": "2022-05-01 09:00:00",
            "status": "limit_lock" if customer.customer == _LIMITED else "active",
            "status_change_date_time": "2022-05-01 09:00:00",
            "monthly_base_limit": 10_000 if customer.customer == _LIMITED else None,
            "monthly_base_notify_limit": None,
            "monthly_base_notify_emails": ["limit@example.test"] if customer.customer == _LIMITED else [],
            "monthly_calls_limit": None,
            "monthly_calls_notify_limit": None,
            "monthly_calls_notify_emails": [],
            "daily_calls_limit": None,
            "daily_calls_notify_limit": None,
            "daily_calls_notify_emails": [],
            "sites": [{"site_id": site.id, "site_domain_name": site.domain} for site in customer.sites],
            "tariff_plan_id": 406,
            "tariff_plan_name": "Базовый",
        }
        for customer in agent.customers
    ]


def customer_users(agent: Cast) -> list[Row]:
    """get.customer_users: one of each customer."""
    return [
        {
            "id": customer.user_id,
            "login": f"client{customer.customer}@example.test",
            "description": "отчёты" if customer.customer == _LIMITED else None,
            "name": f"Клиент {customer.customer}",
            "customer_id": customer.customer_id,
        }
        for customer in agent.customers
    ]
