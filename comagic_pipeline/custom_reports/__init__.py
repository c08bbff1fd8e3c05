"""Custom reports: what a user describes in the configuration, understood. No I/O, no SQL, no Dagster here."""
