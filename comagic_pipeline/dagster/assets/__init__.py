"""Assets: a factory for each kind of table. What a load does is in `dagster/loads`."""
