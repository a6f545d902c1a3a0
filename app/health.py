"""Liveness and readiness."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import redis
import structlog
from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app import db, queue
from app.clock import utc_now
from app.deps import Wiring, WiringDep
from app.tables import JobKind, Worker

router = APIRouter(tags=["health"])

log = structlog.get_logger(__name__)


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Check(BaseModel):
    """One thing that the service stands on."""

    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether the service can do its work, and what each part says."""

    ready: bool
    checks: dict[str, Check]


class _NotReady(Exception):
    pass


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Health:
    """Answers without touching anything else."""
    return Health()


@router.get("/readyz", summary="Can it do its work?", responses={503: {"model": Readiness}})
def readyz(wiring: WiringDep, response: Response) -> Readiness:
    """Database, Redis, blob store and workers, each reported; 503 when one of them is missing."""
    checks = {
        "database": _check("database", lambda: _database(wiring)),
        "redis": _check("redis", lambda: _redis(wiring)),
        "storage": _check("storage", lambda: _storage(wiring)),
        "workers": _check("workers", lambda: _workers(wiring)),
    }
    ready = all(check.ok for check in checks.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, checks=checks)


def _check(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(ok=True, detail=look())
    except _NotReady as error:
        return Check(ok=False, detail=str(error))
    except (SQLAlchemyError, redis.RedisError, OSError) as error:
        # The text of such an error may hold addresses and passwords: it goes to the log only.
        log.warning("readyz.failed", check=name, error=str(error))
        return Check(ok=False, detail="does not answer")


def _database(wiring: Wiring) -> str:
    with wiring.database.engine.connect() as connection:
        revision = db.revision_of(connection)
    if revision != db.head_revision():
        raise _NotReady(f"is at revision {revision}, needs {db.head_revision()}")
    return f"at revision {revision}"


def _redis(wiring: Wiring) -> str:
    queue.ping(wiring.settings.redis_url)
    return "answers"


def _storage(wiring: Wiring) -> str:
    wiring.storage.check()
    return "writes and reads"


def _workers(wiring: Wiring) -> str:
    alive_since = utc_now() - timedelta(seconds=wiring.settings.worker_fresh_seconds)
    with wiring.database.read() as session:
        queues = session.scalars(select(Worker.queues).where(Worker.heartbeat_at > alive_since)).all()
    if not queues:
        raise _NotReady("no worker has been heard from lately")
    served = {str(name) for some in queues for name in some}
    idle = [kind.value for kind in JobKind if kind.value not in served]
    return f"{len(queues)} alive, on {', '.join(sorted(served))}" + (f"; none on {', '.join(idle)}" if idle else "")
