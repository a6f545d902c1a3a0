"""SIGKILL of workers. Recovery: from the kill until another worker has claimed the job, by lease and sweeper alone."""

from __future__ import annotations

import random
import time

from app.tables import JobStatus
from tests.faults.deployment import Deployment, await_true
from tests.faults.marks import on_both_when_long
from tests.faults.work import Start, Times, Work

# Kills fall anywhere from the claim to after the usual end of a job.
LATEST_MOMENT_SECONDS = 2.5
# Two kills of one job leave it the attempt in which it must succeed.
MOST_KILLS_OF_ONE_JOB = 2


@on_both_when_long
def test_workers_killed_at_random_moments(service: Deployment, start: Start, times: Times) -> None:
    work = start("SIGKILL of a worker", service)
    moments = random.Random(7)
    user = work.user()
    job_id, kills = work.adapt(user), 0
    while work.line.times < times(16, 3):
        work.segment(user)
        work.await_running(job_id)
        time.sleep(moments.uniform(0, LATEST_MOMENT_SECONDS))
        kill_its_worker(work, job_id, otherwise=moments.choice(service.workers))
        kills += 1
        if work.has_ended(job_id) or kills == MOST_KILLS_OF_ONE_JOB:
            work.await_ended(job_id)
            user = work.user()
            job_id, kills = work.adapt(user), 0
    work.examine()
    service.await_ready()


def kill_its_worker(work: Work, job_id: str, otherwise: str) -> None:
    """SIGKILL of the worker that has this job, or of another one; waits until somebody has taken the job over."""
    before = work.row(job_id)
    work.service.kill(work.service.worker_of(before.lease_owner) or otherwise)
    killed = time.monotonic()
    if before.status != JobStatus.RUNNING:
        work.line.times += 1
        return

    def taken_over() -> bool:
        now = work.row(job_id)
        return now.lease_token > before.lease_token or now.finished_at is not None

    await_true(taken_over, 120)
    work.line.recovered(time.monotonic() - killed)


@on_both_when_long
def test_a_job_that_kills_its_worker_three_times(service: Deployment, start: Start) -> None:
    work = start("a job kills its worker 3 times", service)
    user, others = work.user(), [work.user() for _ in range(2)]
    poison = work.took(user.adapt(budget_seconds=600))
    for attempt in (1, 2, 3):
        await_true(lambda attempt=attempt: work.row(poison).attempt == attempt and work.row(poison).status == JobStatus.RUNNING, 120)
        for other in others:
            work.segment(other)
        worker = service.worker_of(work.row(poison).lease_owner)
        assert worker is not None
        service.kill(worker)
    killed = time.monotonic()
    ended = work.await_ended(poison)
    work.line.recovered(time.monotonic() - killed)
    assert (ended.status, ended.error_code, ended.attempt) == (JobStatus.FAILED, "worker_died", 3)
    work.examine(expected_codes=["worker_died"])
    failed = [job_id for job_id in work.accepted if work.row(job_id).status == JobStatus.FAILED]
    assert failed == [poison]
    service.await_ready()


@on_both_when_long
def test_nothing_half_written_stays(service: Deployment) -> None:
    folder = service.folder / "blobs" / ".unfinished"
    (folder / "users!left!by.a.killed.process").write_bytes(b"half")
    await_true(lambda: list(folder.iterdir()) == [], 60)
