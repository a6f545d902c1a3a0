"""A worker as a process of its own: SIGTERM in the middle of a job, its metrics port, a schema that it does not know."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app import queue
from app.tables import JobKind, JobStatus, Worker
from tests.conftest import free_port, told_by_environment
from tests.workers.conftest import BASE, add_adaptation, add_photo, job_of, photograph
from workers.workshop import Workshop

PHOTOGRAPHS = ("chelsea.png", "astronaut.png", "coffee.png")
PATIENCE_SECONDS = 200


@contextmanager
def worker_process(workshop: Workshop, **settings: object) -> Iterator[subprocess.Popen[str]]:
    """`python -m workers --queue adaptation` on the workshop's deployment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PERSONALSEG_", "OTEL_"))}
    environment |= told_by_environment(workshop.settings) | {"PERSONALSEG_DEVICE": "cpu"}
    environment |= {f"PERSONALSEG_{name.upper()}": str(value) for name, value in settings.items()}
    environment |= {"PERSONALSEG_DEFAULT_BASE": BASE, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "workers", "--queue", "adaptation"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_sigterm_hands_the_running_job_back(workshop: Workshop, user_id: str) -> None:
    for name in PHOTOGRAPHS:
        add_photo(workshop, user_id, photograph(name))
    job_id = add_adaptation(workshop, user_id, budget_seconds=120.0)
    port = free_port()
    with worker_process(workshop, worker_metrics_port=port) as process:
        queue.enqueue(workshop.settings.redis_url, JobKind.ADAPTATION, job_id)
        until(lambda: job_of(workshop, job_id).stage in ("aligning", "labelling", "training"), process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            assert 'personalseg_worker_jobs_running{kind="adaptation"} 1.0' in answer.read().decode()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt, job.lease_owner) == (JobStatus.QUEUED, 0, None)
    with workshop.database.read() as session:
        assert session.query(Worker).count() == 0


def test_a_worker_that_has_stopped_does_not_clear_up_after_itself(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the cores are busy that takes longer than the grace of `docker stop`."""
    cleared = tmp_path / "cleared"
    (tmp_path / "sitecustomize.py").write_text(f"import atexit, pathlib\natexit.register(pathlib.Path({str(cleared)!r}).touch)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    subprocess.run([sys.executable, "-c", ""], check=True)
    assert cleared.exists(), "the test does not see it"
    cleared.unlink()

    def is_there() -> bool:
        with workshop.database.read() as session:
            return session.query(Worker).count() == 1

    with worker_process(workshop) as process:
        until(is_there, process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0 and "worker.stopped" in said
    assert not cleared.exists()


@pytest.mark.parametrize("revision", ["from_the_future", "2026_11_22_first_tables"])
def test_a_schema_that_it_does_not_know_is_refused(workshop: Workshop, revision: str) -> None:
    with workshop.database.write() as session:
        session.connection().exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")
    with worker_process(workshop) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 78
    assert revision in said and "migrate the database or update the worker" in said


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [("device", "bogus", "no device 'bogus'"), ("lease_seconds", "soon", "valid number"), ("source_dir", "/", "no labelled photos")],
)
def test_a_setting_that_is_not_usable_is_refused_by_its_name(workshop: Workshop, name: str, value: str, why: str) -> None:
    with worker_process(workshop, **{name: value}) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 78
    assert f"PERSONALSEG_{name.upper()} is not usable" in said and why in said and "Traceback" not in said
