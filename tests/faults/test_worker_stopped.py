"""SIGSTOP of a worker past its lease, then SIGCONT. Recovery: from the stop until another worker has the job."""

from __future__ import annotations

import signal

from app.tables import JobStatus
from tests.faults.audit import changes_of
from tests.faults.deployment import Deployment, await_true
from tests.faults.marks import on_both_when_long
from tests.faults.work import Start, Times, Work
from tests.halting import can_be_written


@on_both_when_long
def test_a_stopped_worker_comes_back_too_late(service: Deployment, start: Start, times: Times) -> None:
    work = start("SIGSTOP past the lease, SIGCONT", service)
    while work.line.times < times(4, 1):
        stop_one(work)
    work.examine()
    service.await_ready()


def stop_one(work: Work) -> None:
    """Stop the worker of a new job until another one has done the job, and let it go on then."""
    service, job_id = work.service, work.adapt(work.user())
    worker = service.worker_of(work.await_running(job_id).lease_owner)
    if worker is None:
        return  # ended before it could be stopped
    service.signal(worker, signal.SIGSTOP)
    before = work.row(job_id)
    if not can_be_written(service.settings.database_url):
        # Stopped in the middle of a transaction, on SQLite: nobody can write until it goes on. PostgreSQL ends the transaction.
        service.signal(worker, signal.SIGCONT)
        work.await_ended(job_id)
        return
    refusals = service.log(worker).count("job.lease_lost")
    try:
        if before.status != JobStatus.RUNNING:
            return
        work.line.recovered(await_true(lambda: work.row(job_id).lease_token > before.lease_token, 120))
        ended = work.await_ended(job_id)
    finally:
        service.signal(worker, signal.SIGCONT)
    await_true(lambda: service.log(worker).count("job.lease_lost") > refusals, 120)
    assert work.row(job_id).revision == ended.revision, "the late worker wrote to the row"
    assert [new for _old, new, _attempt in changes_of(service.database, job_id)][-1] == ended.status
