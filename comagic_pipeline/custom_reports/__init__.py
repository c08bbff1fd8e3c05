"""Custom reports: the description in the configuration, turned into fields, paths, tables and mappings.

No I/O, no SQL and no Dagster here. Reading and storing is in `operations` and `warehouse`.
"""
