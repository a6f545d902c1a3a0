"""The wall clock of all processes is set by an hour. Recovery: from a worker's death, with a jump, until its job is claimed."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.tables import JobStatus
from tests.faults.deployment import Deployment, await_true
from tests.faults.work import Start, Times, Work

HOUR = 3600
BUDGET_SECONDS = 4
SOURCE = Path(__file__).with_name("set_clock.c")


class SetClock:
    """The wall clock that the service's processes see: ours plus an offset, which they all read from one mapped file."""

    def __init__(self, folder: Path, compiler: str) -> None:
        self._file, self._library = folder / "clock-offset", folder / "set_clock.so"
        self.set(0)
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE, "-ldl"], check=True)

    def set(self, offset_seconds: int) -> None:
        """From now on the processes are so far from the true time."""
        with self._file.open("r+b" if self._file.exists() else "w+b") as file:
            file.write(struct.pack("q", offset_seconds))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "TEST_CLOCK_OFFSET_FILE": str(self._file)}


@pytest.fixture
def clock(folder: Path) -> SetClock:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("The clock can be set only where there is a C compiler.")
    return SetClock(folder, compiler)


@pytest.fixture
def clocked_service(folder: Path, clock: SetClock) -> Iterator[Deployment]:
    home = folder / "clocked"
    with Deployment(home, f"sqlite:///{home / 'personalseg.sqlite3'}", environment=clock.environment) as running:
        yield running


def test_the_clock_is_set_by_an_hour(clocked_service: Deployment, clock: SetClock, start: Start, times: Times) -> None:
    work = start("clock set by ±1 h", clocked_service)
    for _ in range(times(2, 1)):
        # Forward under a living worker, back over a dead one, and the other way round.
        clock_set_under_a_living_worker(work, clock, HOUR)
        clock_set_and_worker_killed(work, clock, 0)
        clock_set_and_worker_killed(work, clock, HOUR)
        clock_set_under_a_living_worker(work, clock, 0)
    clocked_service.await_ready()
    work.examine()


def clock_set_under_a_living_worker(work: Work, clock: SetClock, offset: int) -> None:
    """It keeps its job, although its lease seems to have ended, or to end in an hour."""
    job_id = work.took(work.user().adapt(budget_seconds=BUDGET_SECONDS))
    before = work.await_running(job_id)
    assert before.status == JobStatus.RUNNING
    clock.set(offset)
    assert work.await_ended(job_id).lease_token == before.lease_token, "a living worker lost its job"
    jumped = work.row(job_id).finished_at - before.started_at  # type: ignore[operator]
    assert abs(jumped.total_seconds()) > HOUR / 2, "the clock was not set"
    work.line.times += 1


def clock_set_and_worker_killed(work: Work, clock: SetClock, offset: int) -> None:
    """Its job is taken over, although its lease ends in an hour."""
    job_id = work.took(work.user().adapt(budget_seconds=BUDGET_SECONDS))
    before = work.await_running(job_id)
    worker = work.service.worker_of(before.lease_owner)
    assert worker is not None
    work.service.kill(worker)
    clock.set(offset)
    killed = time.monotonic()
    await_true(lambda: work.row(job_id).lease_token > before.lease_token, 120)
    work.line.recovered(time.monotonic() - killed)
