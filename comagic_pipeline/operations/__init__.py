"""Operations that need both API and warehouse: connections, load log, points, reconciliation, files.

No Dagster here: commands import these modules without its two seconds of start-up.
"""
