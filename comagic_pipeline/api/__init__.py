"""The protocol of the CoMagic Data API: calls, errors, points, filters, and readers of complete periods.

No Dagster and no SQL here.
"""
