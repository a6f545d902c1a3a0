"""The lock of a data folder: whoever holds it is the only one who starts on, or replaces, what is in there."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

LOCK_FILE = ".lock"


class FolderInUse(Exception):
    """Somebody else holds the folder."""


def lock_folder(data_dir: Path) -> IO[str]:
    """Make the folder and take it until the file is closed or this process has ended, however; raises FolderInUse, OSError."""
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = (data_dir / LOCK_FILE).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise FolderInUse(f"Another personalseg is already running on the data folder {data_dir}.") from error
    except OSError:
        lock.close()
        raise
    return lock
