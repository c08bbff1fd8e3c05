"""What the endurance tests share: how many rounds, with which accidents, and a line for whoever watches them."""

import os
import random
import time


def rounds(default: int = 200) -> int:
    """The number of rounds, from COMAGIC_ROUNDS."""
    return int(os.environ.get("COMAGIC_ROUNDS", default))


def dice() -> random.Random:
    """The accidents, by COMAGIC_SEED: the same seed chooses the same ones, though not to the same millisecond."""
    seed = os.environ.get("COMAGIC_SEED", "1")
    print(f"COMAGIC_SEED={seed}", flush=True)
    return random.Random(seed)


class Progress:
    """Prints lines with the seconds since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def say(self, message: str) -> None:
        """Print a line at once."""
        print(f"{time.monotonic() - self._began:7.1f} s  {message}", flush=True)
