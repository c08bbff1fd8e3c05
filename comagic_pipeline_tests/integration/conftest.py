"""What integration tests share besides: the sandbox of an agent."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from dagster import DagsterInstance

from comagic_pipeline.config import Config
from comagic_pipeline.sandbox.running import running_sandbox
from comagic_pipeline.sandbox.settings import SANDBOX_TOKEN, Settings
from comagic_pipeline.sandbox.world import World
from comagic_pipeline.warehouse.engine import Warehouse
from comagic_pipeline_tests.integration.agents import NOW, Agent, OpenAgent


@pytest.fixture
def open_agent(project: Callable[..., Config], warehouse: Warehouse) -> Iterator[OpenAgent]:
    """Starts the sandbox of an agent and configures a source for it."""
    with ExitStack() as stack:

        def start(tables: tuple[str, ...], user_ids: Any = "all", customers: int = 5, **settings: Any) -> Agent:
            world = World(calls_per_day=4, customers=customers, now=lambda: NOW)
            sandbox = stack.enter_context(running_sandbox(world, Settings(minute_limit=10_000, **settings)))
            source = {"day_points": "{reserve: 0}", "tables": f"[{', '.join(tables)}]", "user_ids": user_ids}
            config = project(base_url=sandbox.url, token=SANDBOX_TOKEN, **source)
            return Agent(config, sandbox, warehouse, stack.enter_context(DagsterInstance.ephemeral()))

        yield start
