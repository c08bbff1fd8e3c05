"""The protocol of the CoMagic Data API: calls, errors, points, complete periods. No Dagster and no SQL here."""
