"""The star: facts and dimensions with the names and keys of mybi connect, built by SQL from the raw tables.

`tables.py` declares the tables, the `.sql` files fill them one step each, `build.py` runs the steps. Nothing here
talks to the API, so a star can be rebuilt at will without spending a point.
"""
