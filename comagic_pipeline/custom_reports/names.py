"""Names derived from the name of a custom report: safe, and the same on every machine."""

import hashlib
import re
import unicodedata

from anyascii import anyascii

LONGEST_ASSET_NAME = 60
"""Characters of the name of an asset."""
_IDS = 2**31 - 2_000_000
_FIRST_ID = 1_000_000
"""Below are the numbers that people give themselves."""


def normal_name(name: str) -> str:
    """Return the name as one and the same text, however its letters were typed."""
    return unicodedata.normalize("NFC", name).strip()


def report_id(account_id: int, name: str) -> int:
    """Return the number of a report, `processor_id` in its rows.

    The same wherever the name and the account are the same.
    """
    digest = hashlib.sha256(f"{account_id}\n{normal_name(name)}".encode()).digest()
    return _FIRST_ID + int.from_bytes(digest[:8]) % _IDS


def asset_name(name: str, processor_id: int) -> str:
    """Return the name of the report's asset: Latin letters, digits and single underscores, beginning with a letter.

    A name that is long, or has nothing to make one of, gets the number of the report.
    """
    safe = re.sub(r"[^a-z0-9]+", "_", anyascii(normal_name(name)).lower()).strip("_")
    if not safe:
        return f"report_{processor_id}"
    if not safe[0].isalpha():
        safe = f"report_{safe}"
    if len(safe) > LONGEST_ASSET_NAME:
        safe = f"{safe[: LONGEST_ASSET_NAME - 11].rstrip('_')}_{processor_id}"
    return safe
