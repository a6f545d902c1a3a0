"""`personalseg doctor`: is this deployment well, and if not, what to do."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from app.operations.service import Operator

_LEAST_FREE_BYTES = 2 * 1024**3
_ADVICE = {
    "database": "Check PERSONALSEG_DATABASE_URL and the server.",
    "redis": "Start Redis (`personalseg serve` has its own) or correct PERSONALSEG_REDIS_URL; until then jobs wait, and none is lost.",
    "storage": "Check PERSONALSEG_STORAGE_URL, its credentials and the free space.",
    "workers": "Start `personalseg serve` or `python -m workers --queue segmentation --queue adaptation`, or read why it stopped.",
    "disk": "Free some space: uploads and new models fail when the disk is full. `personalseg sweep` removes leftovers.",
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `advice` is empty where it is well."""

    name: str
    ok: bool
    detail: str
    advice: str


def examine(operator: Operator) -> list[Finding]:
    """Database and its revision, Redis, storage, workers, disk."""
    found = [(name, check.ok, check.detail) for name, check in operator.foundations.ask().items()]
    found.append(("disk", *_disk(operator)))
    return [Finding(name, ok, detail, "" if ok else _ADVICE[name]) for name, ok, detail in found]


def _disk(operator: Operator) -> tuple[bool, str]:
    folder = operator.settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    return free >= _LEAST_FREE_BYTES, f"{free / 1024**3:.1f} GiB free at {folder}"
