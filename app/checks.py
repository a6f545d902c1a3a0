"""Whether the parts that the service stands on answer: asked by `/readyz`, `/metrics` and `personalseg doctor`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import redis
import structlog
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app import db, queue
from app.clock import utc_now
from app.db import Database
from app.remembered import Remembered
from app.settings import Settings
from app.storage import Storage
from app.tables import JobKind, Worker

_STORAGE = "storage"
_STORAGE_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Check(BaseModel):
    """One thing that the service stands on."""

    ok: bool
    detail: str


class CheckFailed(Exception):
    """The part answers, and is not as it must be; says what to do."""


@dataclass
class Foundations:
    """What one process stands on, and how to ask whether it is there."""

    settings: Settings
    database: Database
    storage: Storage
    # A process that began on a schema it knows goes on while a newer release migrates the database under it.
    has_seen_its_schema: bool = False

    @property
    def questions(self) -> dict[str, Callable[[], str]]:
        """The name of each part, and what asks it: a sentence, or CheckFailed, SQLAlchemyError, RedisError or OSError."""
        return {"database": self._database, "redis": self._redis, _STORAGE: self._storage, "workers": self._workers}

    def ask(self, names: Iterable[str] | None = None) -> dict[str, Check]:
        """What the parts of these names say, or all of them."""
        questions = self.questions
        return {name: _answer(name, questions[name]) for name in (questions if names is None else names)}

    def least_room(self) -> tuple[int, Path]:
        """Of the disks with the data folder and the blobs, the bytes free on the one with less room, and its folder. Raises OSError."""
        folders = [folder.absolute() for folder in (self.settings.data_dir, self.storage.folder) if folder is not None]
        return min(map(_free, folders), key=lambda found: found[0])

    def _database(self) -> str:
        with self.database.engine.connect() as connection:
            found = db.revision_of(connection)
        needed = db.head_revision()
        if found == needed:
            self.has_seen_its_schema = True
            return f"at revision {found}"
        if db.knows(found):
            raise CheckFailed(f"is at revision {found or 'none'}, needs {needed}: run `personalseg migrate`")
        if self.has_seen_its_schema:
            return f"at revision {found}, newer than this version's {needed}: finish the upgrade"
        raise CheckFailed(f"is at revision {found}, which this version does not know: install the newer version")

    def _redis(self) -> str:
        queue.ping(self.settings.redis_url)
        return "answers"

    def _storage(self) -> str:
        self.storage.check()
        return "writes and reads"

    def _workers(self) -> str:
        alive = workers_by_queue(self.database, self.settings)
        total = sum(alive.values())
        if not total:
            raise CheckFailed("no worker has been heard from lately")
        idle = [kind.value for kind in JobKind if not alive[kind]]
        served = ", ".join(f"{count} on {kind.value}" for kind, count in alive.items() if count)
        return f"alive: {served}" + (f"; none on {', '.join(idle)}" if idle else "")


class Probes:
    """The same for those who ask without a token: a check of the storage writes and is paid for, so its answer is remembered a while."""

    def __init__(self, foundations: Foundations, *, storage_seconds: float = _STORAGE_SECONDS) -> None:
        self._foundations = foundations
        self._storage = Remembered(storage_seconds, lambda: foundations.ask([_STORAGE])[_STORAGE])

    def ask(self, names: Iterable[str] | None = None) -> dict[str, Check]:
        """As `Foundations.ask`, each part once however often it is named; the storage's answer is at most `storage_seconds` old."""
        wanted = self._foundations.questions if names is None else dict.fromkeys(names)
        return {name: self._storage() if name == _STORAGE else self._foundations.ask([name])[name] for name in wanted}


def workers_by_queue(database: Database, settings: Settings) -> dict[JobKind, int]:
    """How many workers have been heard from within `worker_fresh_seconds`, by the kind of jobs that they do."""
    alive_since = utc_now() - timedelta(seconds=settings.worker_fresh_seconds)
    with database.read() as session:
        queues = session.scalars(select(Worker.queues).where(Worker.heartbeat_at > alive_since)).all()
    return {kind: sum(kind.value in some for some in queues) for kind in JobKind}


def _free(folder: Path) -> tuple[int, Path]:
    """The bytes free where this folder is, or would be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free, folder


def _answer(name: str, question: Callable[[], str]) -> Check:
    try:
        return Check(ok=True, detail=question())
    except CheckFailed as error:
        return Check(ok=False, detail=str(error))
    except (SQLAlchemyError, redis.RedisError, OSError) as error:
        # The text of such an error may hold addresses and passwords: it goes to the log only.
        log.warning("check.failed", check=name, error=str(error))
        return Check(ok=False, detail="does not answer")
