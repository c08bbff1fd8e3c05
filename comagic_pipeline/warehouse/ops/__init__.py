"""Operational tables: what is loaded, pending, rejected, compared, spent. A module for the SQL of each."""
