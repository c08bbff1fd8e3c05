"""Readers: complete rows of a report or a dictionary, at the least cost in points.

A module for each way to ask. To add one, let `report` choose it.
"""
