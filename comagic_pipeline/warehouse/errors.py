"""Errors of the warehouse, for every module of this package."""


class WarehouseError(Exception):
    """The warehouse cannot be used: one line that names the place and the fix."""
