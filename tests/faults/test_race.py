"""Two processes claim the same job at the same moment, again and again; and two workers are rung for one job many times."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from app import queue
from app.tables import Job, JobKind
from tests.faults.deployment import ROOT, Deployment
from tests.faults.marks import on_both_when_long
from tests.faults.work import Start, Times
from tests.halting import halted

# Claims each job that it reads of and, if it got it, ends it; says what it got.
RACER = """
import json, sys
from app import jobs
from app.db import Database
from app.errors import LeaseLost
database = Database(sys.argv[1])
for line in sys.stdin:
    with database.write() as session:
        lease = jobs.claim(session, line.strip(), sys.argv[2], 60.0)
    if lease is not None:
        with database.write() as session:
            jobs.succeed(session, lease, report={"by": sys.argv[2]})
    print(json.dumps(None if lease is None else lease.token), flush=True)
"""


@on_both_when_long
def test_two_processes_race_for_each_job(service: Deployment, start: Start, times: Times) -> None:
    work = start("two processes race for a job", service)
    user_id = service.new_user().user_id
    assert user_id is not None
    racers = [_racer(service, name) for name in ("one", "two")]
    winners = {"one": 0, "two": 0}
    try:
        # The service's own workers keep out of the race.
        with halted([service.pid(worker) for worker in service.workers], service.settings.database_url):
            for number in range(times(1000, 100)):
                work.accepted.append(_add_job(service, user_id))
                order = racers if number % 2 else racers[::-1]
                for racer in order:
                    racer.stdin.write(f"{work.accepted[-1]}\n".encode())
                    racer.stdin.flush()
                tokens = [json.loads(racer.stdout.readline()) for racer in racers]
                assert sorted(tokens, key=str) == [1, None], tokens
                winners["one" if tokens[0] else "two"] += 1
                work.line.times += 1
    finally:
        for racer in racers:
            racer.stdin.close()
            assert racer.wait(30) == 0
            racer.stdout.close()
    assert min(winners.values()) > 0, f"no race at all: {winners}"
    work.examine()
    service.await_ready()


def _racer(service: Deployment, name: str) -> Any:
    command = [sys.executable, "-c", RACER, service.settings.database_url, name]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _add_job(service: Deployment, user_id: str) -> str:
    job = Job(user_id=user_id, kind=JobKind.SEGMENTATION, base="espnetv2_tiny", request={"model": "base", "adapt": "never", "all": False})
    with service.database.write() as session:
        session.add(job)
    return job.id


@on_both_when_long
def test_two_workers_are_rung_for_one_job_many_times(service: Deployment, start: Start, times: Times) -> None:
    work = start("many rings for one job", service)
    users = [work.user() for _ in range(2)]
    for _ in range(times(10, 3)):
        for user in users:
            job_id = work.segment(user)
            for _ring in range(5):
                assert queue.enqueue(service.settings.redis_url, JobKind.SEGMENTATION, job_id)
            work.line.times += 1
    work.examine()
    attempts = {work.row(job_id).attempt for job_id in work.accepted}
    assert attempts == {1}
