"""Clean foreign text (of an API, a server, a file name) for terminals, logs and the journal."""

import re

LONGEST = 500
"""Characters of a foreign text that a message shows: the documented errors of the API have at most 100."""

# Whole escape sequences of terminals first (ECMA-48: CSI, and strings such as OSC), so that no rest of them is shown.
# Then all control characters, and those of Unicode that turn the direction of text or break lines.
_UNPRINTABLE = re.compile(
    "(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]"
    "|(?:\x1b[\\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)?"
    "|\x1b[ -/]*[0-~]"
    "|[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb]"
)


def printable(text: str, longest: int = LONGEST) -> str:
    """Return the text in one line without control characters and terminal escapes, at most `longest` characters.

    A text that is cut says how long it was.
    """
    # A text of megabytes is not worth searching: only its beginning is shown.
    shown = " ".join(_UNPRINTABLE.sub(" ", text[: 4 * longest]).split())
    if len(text) <= 4 * longest and len(shown) <= longest:
        return shown
    return f"{shown[:longest]}… ({len(text)} characters)"
