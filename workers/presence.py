"""What a worker process does besides its jobs: it tells that it is there, and rings for jobs nobody was told of."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog
from dramatiq.brokers.redis import RedisBroker
from redis import RedisError
from sqlalchemy import delete, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app import jobs, queue
from app.clock import is_settled, utc_now
from app.sweeping.service import sweep_in_turn
from app.tables import JobKind, RegisteredBase, Worker
from models import BaseInfo, available_bases
from models.bases.errors import BaseNotAvailable
from workers.broker import waiting_messages
from workers.chores import forget_keys, forget_tokens, shorten_segmentations, start_adaptations
from workers.erasure import finish_erasures
from workers.webhooks import forget_old, send_due
from workers.workshop import Workshop

# A row of a worker that died without a word is of no use after this time.
_FORGET_WORKERS_AFTER = timedelta(hours=1)
_TIDY_SECONDS = 600.0
_WEBHOOK_SECONDS = 1.0
_BASES_SECONDS = 30.0

log = structlog.get_logger(__name__)


def register(workshop: Workshop, queues: Sequence[JobKind]) -> None:
    """Write this worker and the bases it has."""
    with workshop.database.write() as session:
        session.execute(delete(Worker).where(Worker.heartbeat_at < utc_now() - _FORGET_WORKERS_AFTER))
        session.add(_row_of(workshop, queues))
        for info in available_bases():
            weights_present = _has_weights(workshop, info)
            if weights_present or not info.must_be_trained:
                _register_base(session, info, is_default=info.name == workshop.settings.default_base, weights_present=weights_present)


def register_bases(workshop: Workshop) -> list[str]:
    """Write the bases whose weights came since somebody last looked: installed, or fetched by a command or a job. Returns their names.

    None is taken back: another worker's folder may have what this one's has not.
    """
    there = [info for info in available_bases() if _has_weights(workshop, info)]
    with workshop.database.read() as session:
        known = set(session.scalars(select(RegisteredBase.name).where(RegisteredBase.weights_present)))
    new = [info for info in there if info.name not in known]
    if new:
        with workshop.database.write() as session:
            for info in new:
                _register_base(session, info, is_default=info.name == workshop.settings.default_base, weights_present=True)
        log.info("bases.registered", names=[info.name for info in new])
    return [info.name for info in new]


def _row_of(workshop: Workshop, queues: Sequence[JobKind]) -> Worker:
    return Worker(
        id=workshop.worker_id,
        queues=[queue.value for queue in queues],
        hostname=socket.gethostname(),
        pid=os.getpid(),
        device=workshop.device,
    )


def unregister(workshop: Workshop) -> None:
    """Remove this worker's row; a database that is away is only logged."""
    try:
        with workshop.database.write() as session:
            session.execute(delete(Worker).where(Worker.id == workshop.worker_id))
    except SQLAlchemyError as error:
        log.warning("worker.not_unregistered", error=str(error))


def beat(workshop: Workshop, queues: Sequence[JobKind]) -> None:
    """Say that this worker is alive."""
    with workshop.database.write() as session:
        statement = update(Worker).where(Worker.id == workshop.worker_id).values(heartbeat_at=utc_now()).returning(Worker.id)
        if session.execute(statement).scalar_one_or_none() is None:
            # Somebody took it for dead: it was stopped for long, or the clock was set.
            session.add(_row_of(workshop, queues))


def sweep(workshop: Workshop, broker: RedisBroker) -> int:
    """Close the jobs without a future, and ring for those that nobody was told of lately: queued, or with an expired lease.

    Returns how many rings.
    """
    # Before the rows: where Redis does not answer, nothing must be marked as rung for.
    unheard = {kind: waiting_messages(broker, kind) for kind in JobKind}
    # An empty Redis may have been emptied: then nobody hears the rings that the rows speak of.
    lately = jobs.RING_AGAIN_SECONDS if any(unheard.values()) else workshop.settings.sweep_seconds
    with workshop.database.write() as session:
        now = utc_now()
        closed = jobs.close_abandoned(session, now)
        most = {kind: jobs.ENOUGH_UNHEARD - rings for kind, rings in unheard.items()}
        found = jobs.due(session, now, ring_again_seconds=min(lately, jobs.RING_AGAIN_SECONDS), most=most)
    for job in closed:
        log.warning("job.closed_without_worker", job_id=job.job_id, kind=job.kind, status=job.status, code=job.error_code)
        workshop.metrics.job_closed(job.kind, job.status, job.error_code)
    return sum(queue.enqueue(workshop.settings.redis_url, due.kind, due.job_id) for due in found)


def tidy(workshop: Workshop) -> None:
    """Remove what killed processes left in the blob store: files half-written, and, when it is its turn, blobs that no row speaks of."""
    if not is_settled():
        return  # just after the clock was set, what is being written looks old
    every = timedelta(hours=workshop.settings.storage_sweep_hours)
    sweep_in_turn(workshop.database, workshop.storage, every=every, unfinished_seconds=workshop.settings.unfinished_file_seconds)


def start_background(workshop: Workshop, broker: RedisBroker, queues: Sequence[JobKind]) -> list[threading.Thread]:
    """Start the heartbeat, the sweeper, the tidying and what else is done now and then; they end soon after `workshop.stopping` is set."""
    settings, stopping = workshop.settings, workshop.stopping
    return [
        _repeat("heartbeat", settings.heartbeat_seconds, stopping, lambda: beat(workshop, queues)),
        _repeat("bases", _BASES_SECONDS, stopping, lambda: register_bases(workshop)),
        _repeat("sweeper", settings.sweep_seconds, stopping, lambda: sweep(workshop, broker)),
        _repeat("auto_adaptation", settings.sweep_seconds, stopping, lambda: start_adaptations(workshop)),
        _repeat("erasures", settings.sweep_seconds, stopping, lambda: finish_erasures(workshop)),
        _repeat("webhooks", _WEBHOOK_SECONDS, stopping, lambda: send_due(workshop)),
        _repeat("webhooks_past", _TIDY_SECONDS, stopping, lambda: forget_old(workshop)),
        _repeat("idempotency", _TIDY_SECONDS, stopping, lambda: forget_keys(workshop)),
        _repeat("tokens", _TIDY_SECONDS, stopping, lambda: forget_tokens(workshop)),
        _repeat("segmentations", _TIDY_SECONDS, stopping, lambda: shorten_segmentations(workshop)),
        _repeat("tidying", min(_TIDY_SECONDS, settings.unfinished_file_seconds), stopping, lambda: tidy(workshop)),
    ]


def _repeat(name: str, seconds: float, stopping: threading.Event, action: Callable[[], object]) -> threading.Thread:
    def loop() -> None:
        while True:
            try:
                action()
            except (SQLAlchemyError, RedisError, OSError) as error:
                log.warning(f"{name}.failed", error=str(error))
            except Exception:
                log.exception(f"{name}.failed")
            if stopping.wait(seconds):
                return

    thread = threading.Thread(target=loop, name=name, daemon=True)
    thread.start()
    return thread


def _has_weights(workshop: Workshop, info: BaseInfo) -> bool:
    """Whether a job can begin at once; weights that cannot be read count as absent here, and fail the job that needs them."""
    try:
        return workshop.bases.has_weights(info)
    except BaseNotAvailable as error:
        log.warning("base.weights_unreadable", base=info.name, error=str(error))
        return False


def _register_base(session: Session, info: BaseInfo, *, is_default: bool, weights_present: bool) -> None:
    session.merge(
        RegisteredBase(
            name=info.name,
            title=info.title,
            classes=[
                {"id": index, "name": name, "color": list(color)}
                for index, (name, color) in enumerate(zip(info.class_names, info.palette, strict=False))
            ],
            licence=info.licence,
            scores=dict(info.scores),
            is_default=is_default,
            context=info.context,
            weights_present=weights_present,
            registered_at=utc_now(),
        )
    )
