"""`personalseg doctor`: is this deployment well, and if not, what to do."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from app.checks import workers_by_queue
from app.clock import utc_now
from app.observability import repository
from app.operations.service import Operator
from app.tables import JobKind

_LEAST_FREE_BYTES = 2 * 1024**3
_ADVICE = {
    "database": "Check PERSONALSEG_DATABASE_URL and the server.",
    "redis": "Start Redis (`personalseg serve` has its own) or correct PERSONALSEG_REDIS_URL; until then jobs wait, and none is lost.",
    "storage": "Check PERSONALSEG_STORAGE_URL, its credentials and the free space.",
    "workers": "Start `personalseg serve` or `python -m workers --queue segmentation --queue adaptation`, or read why it stopped.",
    "jobs": "Start a worker of that kind (`python -m workers --queue …`) or read in its log why it stopped.",
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
    """Database and its revision, Redis, storage, workers, jobs, disk."""
    found = [(name, check.ok, check.detail) for name, check in operator.foundations.ask().items()]
    found.append(("jobs", *_jobs(operator)))
    found.append(("disk", *_disk(operator)))
    return [Finding(name, ok, detail, "" if ok else _ADVICE[name]) for name, ok, detail in found]


def _jobs(operator: Operator) -> tuple[bool, str]:
    """Well, unless some wait for workers that are not there (for longer than a worker takes to be heard from) or lost theirs."""
    now, fresh = utc_now(), operator.settings.worker_fresh_seconds
    try:
        with operator.database.read() as session:
            waiting = repository.waiting(session, now)
            abandoned = repository.abandoned(session, now)
        workers = workers_by_queue(operator.database, operator.settings)
    except SQLAlchemyError:  # the line of the database says why
        return False, "cannot be read"
    said, well = [], True
    for kind, (count, since) in waiting.items():
        seconds = (now - since).total_seconds()
        is_left = not workers[JobKind(kind)] and seconds > fresh
        well = well and not is_left
        said.append(f"{kind}: {count} waiting, the first for {seconds:.0f} s" + (", and no worker takes them" if is_left else ""))
    for kind, count in abandoned.items():
        well = False
        said.append(f"{kind}: {count} running without a sign of its worker")
    return well, "; ".join(said) or "none wait"


def _disk(operator: Operator) -> tuple[bool, str]:
    """Of the disks with the data folder and the blobs, the one with less room."""
    free, folder = operator.foundations.least_room()
    return free >= _LEAST_FREE_BYTES, f"{free / 1024**3:.1f} GiB free at {folder}"
