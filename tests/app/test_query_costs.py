"""What questions that are asked again and again cost on SQLite: what has long ended, and what waits, must not make them dearer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select
from sqlalchemy.orm import Session

from app import auto_adaptation, turns
from app.clock import utc_now
from app.db import Database
from app.segmentations import repository as segmentations
from app.settings import Settings
from app.tables import Job, JobKind, JobStatus, User, Webhook, WebhookDelivery
from app.webhooks import outbox
from tests.app.deliveries import take_due

KIND = JobKind.SEGMENTATION

Question = Callable[[Session], object]


@pytest.fixture
def database(database: Database) -> Database:
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL chooses by statistics")
    return database


def steps_of(database: Database, question: Question) -> int:
    """How many steps SQLite's machine takes for it: unlike seconds, the same on every computer."""
    steps: list[None] = []
    with database.write() as session:
        driver = session.connection().connection.dbapi_connection
        assert driver is not None
        driver.set_progress_handler(lambda: steps.append(None), 1)
        try:
            question(session)
        finally:
            driver.set_progress_handler(None, 1)
    return len(steps)


def plans_of(database: Database, question: Question) -> list[str]:
    """What SQLite says of how it will answer, a line a step."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    with database.write() as session:
        connection = session.connection()
        event.listen(connection, "before_cursor_execute", note)
        question(session)
        event.remove(connection, "before_cursor_execute", note)
        explained = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters) for statement, parameters in asked]
        return [str(row[3]) for rows in explained for row in rows]


def scanned(plans: list[str], table: str) -> list[str]:
    """What is read from end to end where the table is: an index, or the table itself."""
    return [line.split()[-1] for line in plans if {"SCAN", table} <= set(line.split())]


def make_user(database: Database) -> str:
    with database.write() as session:
        user = User()
        session.add(user)
    return user.id


def make_jobs(database: Database, user_id: str, count: int, *, ended: bool) -> list[str]:
    """Jobs that wait, or that ended (and were told) long ago."""
    now = utc_now()
    past = {"status": JobStatus.SUCCEEDED, "finished_at": now, "served_at": now, "announced": True} if ended else {}
    row = {"user_id": user_id, "kind": KIND, "request": {}, "base": "espnetv2", **past}
    with database.write() as session:
        return list(session.scalars(insert(Job).returning(Job.id), [row] * count))


def unfinished(session: Session) -> object:
    return segmentations.unfinished(session, session.scalars(select(User.id)).one())


def next_job(session: Session) -> object:
    return turns.next_jobs(session, KIND)


def place_in_line(session: Session) -> object:
    job = session.scalars(select(Job).where(Job.status == JobStatus.QUEUED)).one()
    return turns.Places(session, job.user_id, KIND).of(job)


def told(session: Session) -> object:
    return outbox.has_work(session, utc_now()), outbox.announce(session)


@pytest.mark.parametrize("question", [unfinished, next_job, place_in_line, told])
def test_a_question_costs_as_much_after_many_ended_jobs_as_after_few(database: Database, question: Question) -> None:
    user_id = make_user(database)
    make_jobs(database, user_id, 20, ended=True)
    make_jobs(database, user_id, 1, ended=False)
    steps_of(database, question)  # the first time the statement is prepared as well, which SQLite counts since 3.41
    after_few = steps_of(database, question)
    make_jobs(database, user_id, 500, ended=True)
    assert steps_of(database, question) == after_few


def test_what_is_to_be_told_is_found_by_its_index(database: Database) -> None:
    make_jobs(database, make_user(database), 1, ended=True)
    assert scanned(plans_of(database, told), "jobs") == ["ix_jobs_to_announce"] * 2


def test_who_is_adapted_to_without_asking_is_found_by_their_index(database: Database, settings: Settings) -> None:
    plans = plans_of(database, lambda session: auto_adaptation._due_users(session, settings))
    assert scanned(plans, "users") == ["ix_users_auto_adapt"]


def make_deliveries(database: Database, count: int) -> None:
    """So many that are due, and so many that wait for their next attempt, all of one webhook."""
    user_id = make_user(database)
    now = utc_now()
    with database.write() as session:
        hook = Webhook(owner=user_id, user_id=user_id, url="https://example.org/hook", secret="whsec_")
        session.add(hook)
    job_ids = make_jobs(database, user_id, 2 * count, ended=True)
    row = {"webhook_id": hook.id, "user_id": user_id, "event": "segmentation.succeeded", "payload": {}, "attempts": 1, "error": "no"}
    at = {True: now - timedelta(seconds=1), False: now + timedelta(seconds=30)}
    rows = [{**row, "job_id": job_id, "next_attempt_at": at[place < count]} for place, job_id in enumerate(job_ids)]
    with database.write() as session:
        session.execute(insert(WebhookDelivery), rows)


def take_one(session: Session) -> None:
    assert len(take_due(session, utc_now())) == 1


def find_none(session: Session) -> None:
    """While one is under way."""
    assert not outbox.has_work(session, utc_now())


@pytest.mark.parametrize("question", [take_one, find_none])
def test_a_messages_cost_grows_with_how_many_wait_and_not_with_their_square(database: Database, question: Question) -> None:
    """Of one webhook 50 are due and 50 wait for another attempt; then ten times as many."""
    steps = []
    for count in (50, 450):
        make_deliveries(database, count)
        if question is find_none:
            with database.write() as session:
                take_one(session)
        steps.append(steps_of(database, question))
    assert steps[1] < 15 * steps[0]
