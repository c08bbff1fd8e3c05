"""Filters on rows: the text of a user, the API's filter tree and a predicate over rows."""
