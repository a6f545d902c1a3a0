"""Redis killed and restarted empty; Redis away. Recovery: from its return until the first job that waited is taken."""

from __future__ import annotations

import time

from app.tables import JobStatus
from tests.faults.deployment import Deployment, await_true
from tests.faults.marks import on_both_when_long
from tests.faults.work import Start, Times, Work


@on_both_when_long
def test_redis_killed_and_restarted_empty(service: Deployment, start: Start, times: Times) -> None:
    work = start("Redis killed, restarted empty", service)
    for _ in range(times(3, 1)):
        users = [work.user() for _ in range(4)]
        waiting = [ask(user) for ask in (work.adapt, work.segment) for user in users]
        service.kill("redis")
        still = [job_id for job_id in waiting if work.row(job_id).status == JobStatus.QUEUED]
        work.line.recovered(until_one_is_taken(work, still))
    work.examine()
    service.await_ready()


@on_both_when_long
def test_redis_away_during_uploads_and_requests(service: Deployment, start: Start, times: Times) -> None:
    away_seconds = times(30, 3)
    work = start(f"Redis down for {away_seconds} s", service)
    service.kill_for_good("redis")
    gone = time.monotonic()
    waiting = []
    try:
        while time.monotonic() - gone < away_seconds:
            user = work.user()
            waiting += [work.adapt(user), work.segment(user)]
            time.sleep(away_seconds / 4)
        # A worker that was just through with a job looks for the next one itself and needs no Redis for that.
        still = [job_id for job_id in waiting if work.row(job_id).status == JobStatus.QUEUED]
    finally:
        service.start("redis")
    work.line.recovered(until_one_is_taken(work, still))
    work.examine()
    service.await_ready()


def until_one_is_taken(work: Work, job_ids: list[str]) -> float:
    assert job_ids, "nothing waited for Redis"
    return await_true(lambda: any(work.row(job_id).status != JobStatus.QUEUED for job_id in job_ids), 240)
