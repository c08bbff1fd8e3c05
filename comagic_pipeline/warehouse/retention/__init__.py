"""Deletion of days that are older than the first day to keep."""
