"""Errors of the warehouse, for all modules of this package."""


class WarehouseError(Exception):
    """The warehouse cannot be used: one line that names the place and the fix."""


class DiskFullError(WarehouseError):
    """A disk is full: that of the warehouse, or one that a load needs. Once there is room, a load succeeds."""
