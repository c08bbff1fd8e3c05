"""Stop signals of service managers and people: raised as KeyboardInterrupt, and remembered.

Python loses an exception that a signal handler raises while a process is forked: it is raised in a callback of the
logging module, which ignores it. Commands that run until they are stopped therefore also ask `stop_signal`.
"""

from types import FrameType

_asked = False


def interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Handle a signal: remember it, and raise KeyboardInterrupt in what runs."""
    global _asked
    _asked = True
    raise KeyboardInterrupt


def heed() -> None:
    """Raise KeyboardInterrupt when the command was asked to stop and still runs."""
    if _asked:
        raise KeyboardInterrupt
