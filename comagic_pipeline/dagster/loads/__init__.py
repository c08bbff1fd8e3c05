"""Loads as steps of a run. Requests are in `api`, SQL is in `warehouse`."""
