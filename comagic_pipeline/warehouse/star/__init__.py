"""The star: facts and dimensions in the manner of mybi connect, built by SQL from the raw tables.

- `kinds/` holds a folder for each kind of rows (calls, chats, ...): its tables and what its rows are in raw.
- `shared/` holds the tables that all kinds fill, and the steps of a build that are the same for all.
- `build.py` runs the steps for one kind, account and period.
- `marts/` holds ready answers as views, `views.py` makes the views with Russian names for analysts.

Nothing here talks to the API, so a star can be rebuilt at will without spending a point. To add a kind: a folder like
those under `kinds/`, its name in `kinds/__init__.py`, and a migration that makes its tables.
"""
