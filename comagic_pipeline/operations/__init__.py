"""What needs both API and warehouse, and no Dagster: connections, the load log, points, reconciliation, files."""
