"""The SQL warehouse: three schemas (raw, star, ops) in PostgreSQL 14 or newer. No Dagster and no HTTP here."""
