"""Assets: one factory for each kind of table. How a load works is in `dagster.loads`."""
