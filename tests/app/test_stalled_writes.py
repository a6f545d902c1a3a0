"""A process that is stopped in the middle of a write must not hold up the others for ever."""

from __future__ import annotations

import time

import pytest
from sqlalchemy import update
from sqlalchemy.exc import InternalError, OperationalError, SQLAlchemyError

from app import db
from app.db import Database
from app.tables import Job
from tests.app.test_jobs import job_of, make_job, make_user, must_claim

BOTH_DATABASES = True


def test_the_locks_of_a_stalled_write_are_taken_away(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite cannot take a lock from a process that lives.")
    job_id = make_job(database, make_user(database))
    monkeypatch.setattr(db, "_STALLED_WRITE_MILLISECONDS", 500)
    with pytest.raises(SQLAlchemyError) as lost, database.write() as stalled:
        stalled.execute(update(Job).where(Job.id == job_id).values(base="written by the stalled process"))
        must_claim(database, job_id)  # waits for the row's lock, and gets it
        time.sleep(0.1)
        stalled.execute(update(Job).where(Job.id == job_id).values(base="written too late"))
    assert isinstance(lost.value, (InternalError, OperationalError))  # what workers take for a database that was away
    job = job_of(database, job_id)
    assert (job.base, job.status) == ("espnetv2", "running")
