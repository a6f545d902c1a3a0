"""The actors: a job id in, nothing out. The row says what to do and takes what came of it."""

from __future__ import annotations

from collections.abc import Callable

import dramatiq
import structlog
from dramatiq import Broker
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bound_contextvars

from app import jobs, queue, turns
from app.db import DATABASE_AWAY
from app.errors import LeaseLost
from app.tables import JobKind
from app.tenancy import acting_for
from models.types import Cancelled
from workers.adaptation import adapt_gallery
from workers.checkpoints import forget_checkpoints
from workers.erasure import owner_of
from workers.failures import is_device_lost, log_failure
from workers.lease import HeldJob, hold
from workers.memory import Recycler
from workers.observed import observed
from workers.patience import await_store, is_store_away
from workers.segmentation import TurnIsOver, segment_photos
from workers.workshop import Workshop

Work = Callable[[Workshop, HeldJob], None]

log = structlog.get_logger(__name__)


def declare_actors(broker: Broker, workshop: Workshop) -> None:
    """Make `adapt` and `segment` known to the broker."""

    recycler = Recycler(workshop)

    @dramatiq.actor(broker=broker, actor_name="adapt", queue_name=JobKind.ADAPTATION.value)
    def adapt(_rung_for: str) -> None:
        done = run_next(workshop, JobKind.ADAPTATION, adapt_gallery)
        if done is not None:
            ring_dependents(workshop, done)
        recycler.look()

    @dramatiq.actor(broker=broker, actor_name="segment", queue_name=JobKind.SEGMENTATION.value)
    def segment(_rung_for: str) -> None:
        run_next(workshop, JobKind.SEGMENTATION, segment_photos)
        recycler.look()


def run_next(workshop: Workshop, kind: JobKind, work: Work) -> str | None:
    """Do the job whose turn it is, whichever was rung for; its id, or None where nothing is to be had.

    As many rings as jobs, and each ring takes one: so every job is taken, in the order of `app.turns`.
    """
    while not workshop.stopping.is_set():
        with workshop.database.read() as session:
            job_ids = turns.next_jobs(session, kind)
        if not job_ids:
            log.debug("job.none_waits")
            return None
        for job_id in job_ids:
            if run(workshop, job_id, work):
                return job_id
            # Another worker was faster with it: the next one's turn it is.
    return None


def run(workshop: Workshop, job_id: str, work: Work) -> bool:
    """Claim the job, do its work, and close its row whatever happens; False where it is not to be had."""
    if workshop.stopping.is_set():
        return False
    with (
        bound_contextvars(job_id=job_id),
        hold(workshop.database, workshop.settings, job_id, workshop.owner, workshop.stopping) as held,
    ):
        if held is None:
            log.debug("job.not_to_be_had")
            return False
        try:
            with observed(workshop, held):
                log.info("job.started", lease_token=held.lease.token)
                _work_and_close(workshop, held, work)
        except LeaseLost:
            log.warning("job.lease_lost")
        except SQLAlchemyError:
            # The lease runs out, and the sweeper gives the job to somebody else.
            log.exception("job.not_closed")
    forget_checkpoints(workshop, job_id)
    return True


def _work_and_close(workshop: Workshop, held: HeldJob, work: Work) -> None:
    try:
        # Behind the wall: whatever the work gets wrong, it reaches no other user's blobs and models.
        with acting_for(owner_of(workshop, held.job_id)):
            work(workshop, held)
    except Cancelled:
        held.end_early()
    except TurnIsOver:
        held.yield_turn()
        queue.enqueue(workshop.settings.redis_url, JobKind.SEGMENTATION, held.job_id)
    except LeaseLost:
        raise
    except Exception as error:
        try:
            _close_failed(workshop, held, error)
        finally:
            if is_device_lost(error):
                log.error("worker.device_lost", device=workshop.device)
                workshop.give_up()
    else:
        log.info("job.ended")


def _close_failed(workshop: Workshop, held: HeldJob, error: Exception) -> None:
    """Failed; or queued again where the database or the blob store was away, or the device is lost, which need not be the job's fault.

    The attempt counts, so that it ends in any case.
    """
    failure = log_failure("job.failed", error)
    if is_store_away(error) and not await_store(workshop, held) and held.should_stop():
        held.end_early()
        return
    may_pass = is_store_away(error) or isinstance(error, DATABASE_AWAY) or is_device_lost(error)
    close = jobs.try_again if may_pass else jobs.fail
    held.write(lambda session: close(session, held.lease, code=failure.code, reason=failure.reason))


def ring_dependents(workshop: Workshop, job_id: str) -> None:
    """Ring for the jobs that waited for this one. Too early, it finds nothing to claim, and the sweeper rings again."""
    try:
        with workshop.database.read() as session:
            waiting = jobs.dependents(session, job_id)
    except SQLAlchemyError:
        log.warning("job.dependents_not_rung", exc_info=True)
        return
    for due in waiting:
        queue.enqueue(workshop.settings.redis_url, due.kind, due.job_id)
