"""Suggest the name that was perhaps meant, for errors about an unknown name."""

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str]) -> str:
    """Return what was perhaps meant, as the end of a sentence; empty when nothing is alike."""
    matches = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
