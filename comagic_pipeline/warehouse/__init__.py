"""The SQL warehouse: three schemas (raw, star, ops) in any PostgreSQL from 14 on. No Dagster and no HTTP here."""
