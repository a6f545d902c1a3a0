"""Where an adaptation's checkpoint is kept: in the blob store, below its user, so that erasing the user removes it.

One blob per lease, named by the fencing token. Whoever holds the newest lease reads the newest blob and writes its own; a late writer of
an older lease cannot overwrite it. The blobs go when the job ends; what a killed process leaves is removed by `app.sweeping`.
"""

from __future__ import annotations

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.errors import BlobNotFound, LeaseLost
from app.storage import checkpoint_key, checkpoints_prefix
from app.tables import ACTIVE_STATUSES, Job, JobKind, JobStatus
from models import photo_ids_in
from workers.erasure import owner_of
from workers.lease import HeldJob
from workers.patience import await_store, is_store_away
from workers.workshop import Workshop

log = structlog.get_logger(__name__)


class JobCheckpoints:
    """The `models.CheckpointStore` of one held job. Where the store or database is away one is not saved, and the job goes on."""

    def __init__(self, workshop: Workshop, held: HeldJob) -> None:
        self._workshop, self._storage, self._held = workshop, workshop.storage, held
        user_id = owner_of(workshop, held.job_id)
        if user_id is None:  # erased
            raise LeaseLost(held.job_id)
        self._prefix = checkpoints_prefix(user_id, held.job_id)
        self._key = checkpoint_key(user_id, held.job_id, held.lease.token)
        self._found = self._read_newest()
        self._older_remain = True

    @property
    def photo_ids(self) -> tuple[str, ...] | None:
        """The gallery that an earlier attempt began with; what was uploaded since then is for the next adaptation."""
        return None if self._found is None else photo_ids_in(self._found)

    def load(self) -> bytes | None:
        """The newest checkpoint of this job, or None; given out once, so that it is not held while the job runs."""
        found, self._found = self._found, None
        return found

    def save(self, data: bytes) -> None:
        """Keep this checkpoint instead of those before; does nothing for a lease that is lost."""
        if self._held.is_lost():
            return
        try:
            self._storage.put_bytes(self._key, data)
            if not self._is_still_ours():
                self._storage.delete(self._key)
            elif self._older_remain:
                self._delete_older()
        except (OSError, SQLAlchemyError) as error:
            log.warning("checkpoint.not_saved", job_id=self._held.job_id, error=str(error))

    def _read_newest(self) -> bytes | None:
        """None where there is none that can be read. A store that is away is waited for; raises its OSError where it stays away."""
        for is_last in (False, True):
            try:
                keys = self._storage.keys(self._prefix)
                return self._storage.get_bytes(keys[-1]) if keys else None
            except (OSError, BlobNotFound) as error:
                if not is_last and is_store_away(error):
                    if not await_store(self._workshop, self._held):
                        raise
                    continue
                log.warning("checkpoint.not_read", job_id=self._held.job_id, error=str(error))
        return None

    def _is_still_ours(self) -> bool:
        """Whether the row is there and says that this lease holds: else the blob came too late, perhaps after an erasure."""
        lease = self._held.lease
        statement = select(Job.id).where(Job.id == lease.job_id, Job.status == JobStatus.RUNNING, Job.lease_token == lease.token)
        with self._workshop.database.read() as session:
            return session.execute(statement).first() is not None

    def _delete_older(self) -> None:
        self._storage.delete_all(key for key in self._storage.keys(self._prefix) if key < self._key)
        self._older_remain = False


def forget_checkpoints(workshop: Workshop, job_id: str) -> None:
    """Remove the checkpoints of an adaptation that has ended; those of one that was handed back stay."""
    try:
        with workshop.database.read() as session:
            job = session.get(Job, job_id)
        if job is not None and job.kind == JobKind.ADAPTATION and job.status not in ACTIVE_STATUSES:
            workshop.storage.delete_prefix(checkpoints_prefix(job.user_id, job.id))
    except (OSError, SQLAlchemyError) as error:
        log.warning("checkpoint.not_removed", job_id=job_id, error=str(error))
