"""Holding a job while C code computes, and while the database is away."""

from __future__ import annotations

import ctypes
import sqlite3
import threading

import pytest
from sqlalchemy.exc import OperationalError

from app import jobs
from app.tables import JobStatus
from tests.workers.conftest import add_adaptation, job_of, require_three_attempts
from tests.workers.test_lease import hold_job, within
from workers.lease import HeldJob
from workers.workshop import Workshop


@pytest.fixture
def job_id(workshop: Workshop, user_id: str) -> str:
    return add_adaptation(workshop, user_id)


def locked(workshop: Workshop) -> sqlite3.Connection:
    """Another program's connection that holds the database's write lock."""
    _need_sqlite(workshop)
    path = workshop.settings.database_url.removeprefix("sqlite:///")
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def _need_sqlite(workshop: Workshop) -> None:
    if workshop.database.engine.dialect.name != "sqlite":
        pytest.skip("only SQLite has one lock for the whole database")


def impatient(workshop: Workshop) -> None:
    """Give up waiting for SQLite's lock at once, so that a test need not wait for it either."""
    _need_sqlite(workshop)
    from sqlalchemy import event

    def prepare(connection: object, _entry: object) -> None:
        connection.execute("PRAGMA busy_timeout = 0")  # type: ignore[attr-defined]

    workshop.database.engine.dispose()
    event.listen(workshop.database.engine, "connect", prepare)


def test_the_heart_beats_while_one_call_into_c_lasts(workshop: Workshop, job_id: str) -> None:
    with hold_job(workshop, job_id) as held:
        assert held is not None
        first = job_of(workshop, job_id).lease_expires_at
        # As torch and Pillow do, a call through CDLL gives up the interpreter's lock; longer than the whole lease.
        ctypes.CDLL(None).usleep(int(workshop.settings.lease_seconds * 1.2 * 1_000_000))
        renewed = job_of(workshop, job_id).lease_expires_at
        assert first is not None and renewed is not None and renewed > first
        assert not held.should_stop()


def test_the_heart_survives_an_error_that_nobody_thought_of(workshop: Workshop, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([RuntimeError("nobody thought of this")])
    look = HeldJob._look

    def fail_once(held: HeldJob) -> None:
        if (failure := next(failures, None)) is not None:
            raise failure
        look(held)

    monkeypatch.setattr(HeldJob, "_look", fail_once)
    with hold_job(workshop, job_id) as held:
        assert held is not None
        first = job_of(workshop, job_id).lease_expires_at
        assert within(20.0, lambda: job_of(workshop, job_id).lease_expires_at != first)


def test_a_result_waits_for_a_locked_database(workshop: Workshop, job_id: str) -> None:
    impatient(workshop)
    with hold_job(workshop, job_id) as held:
        assert held is not None
        other = locked(workshop)
        threading.Timer(1.0, other.rollback).start()
        held.write(lambda session: jobs.succeed(session, held.lease))
    other.close()
    assert job_of(workshop, job_id).status == JobStatus.SUCCEEDED


def test_waiting_for_the_database_ends_with_the_lease(workshop: Workshop, job_id: str) -> None:
    impatient(workshop)
    with hold_job(workshop, job_id) as held:
        assert held is not None
        other = locked(workshop)
        with pytest.raises(OperationalError):
            held.write(lambda session: jobs.succeed(session, held.lease))
        assert held.should_stop()
    other.close()
    assert job_of(workshop, job_id).status == JobStatus.RUNNING


def test_waiting_for_the_database_ends_though_the_heart_beats(workshop: Workshop, job_id: str) -> None:
    def never(_session: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("no such table"))

    with hold_job(workshop, job_id) as held:
        assert held is not None
        with pytest.raises(OperationalError):
            held.write(never)
        assert not held.should_stop()


def test_a_job_that_met_an_absent_database_is_tried_again(workshop: Workshop, job_id: str) -> None:
    def work(_workshop: Workshop, _held: object) -> None:
        raise OperationalError("SELECT 1", {}, Exception("the server closed the connection unexpectedly"))

    require_three_attempts(workshop, job_id, work, "database_error")
