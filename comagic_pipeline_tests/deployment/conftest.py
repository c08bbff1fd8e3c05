"""What the deployment tests share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _no_server_data_left(tmp_path: Path) -> Iterator[None]:
    """As root the data of an embedded server lie outside of the test's folder: they go with it."""
    yield
    cluster = tmp_path / ".comagic" / "postgres" / "cluster"
    if cluster.is_symlink():
        shutil.rmtree(cluster.resolve(), ignore_errors=True)
