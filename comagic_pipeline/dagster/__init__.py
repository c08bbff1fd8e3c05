"""Everything that is Dagster: assets, loads, checks, jobs, automation, the instance.

Packages below this one do not import Dagster (`make check` enforces it).
"""
