"""Readiness by part, and during an upgrade: a running process outlives a newer schema, a starting one does not take it."""

from __future__ import annotations

import warnings

import httpx

from app import db
from app.checks import Foundations
from app.db import Database
from app.main import create_app
from app.settings import Settings
from app.storage import Storage

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

BOTH_DATABASES = True


def move_on(database: Database, revision: str) -> None:
    """Let the database be of this revision, as a newer release's migration leaves it."""
    with database.write() as session:
        session.connection().exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


def database_of(client: httpx.Client) -> tuple[int, str]:
    answer = client.get("/readyz", params={"check": "database"})
    assert list(answer.json()["checks"]) == ["database"]
    return answer.status_code, answer.json()["checks"]["database"]["detail"]


def test_one_part_may_be_asked_alone(anonymous: httpx.Client) -> None:
    assert anonymous.get("/readyz").status_code == 503  # no worker
    assert anonymous.get("/readyz?check=database&check=redis&check=storage").json()["ready"] is True
    assert anonymous.get("/readyz?check=workers").status_code == 503
    wrong = anonymous.get("/readyz?check=everything")
    assert (wrong.status_code, wrong.headers["content-type"]) == (422, "application/problem+json")


def test_an_upgrade_does_not_take_the_running_process_away(settings: Settings, database: Database) -> None:
    with TestClient(create_app(settings)) as old, TestClient(create_app(settings)) as restarted:
        assert database_of(old) == (200, f"at revision {db.head_revision()}")
        move_on(database, "from_the_future")
        status, detail = database_of(old)
        assert status == 200 and "finish the upgrade" in detail
        # A process of the old version that starts only now.
        status, detail = database_of(restarted)
        assert status == 503 and "does not know" in detail


def test_a_schema_that_is_too_old_says_what_to_do(settings: Settings, database: Database) -> None:
    foundations = Foundations(settings, database, Storage(settings.storage_url))
    assert foundations.ask(["database"])["database"].ok
    db.downgrade(settings.database_url, "2026_11_22_turns")
    check = foundations.ask(["database"])["database"]
    assert not check.ok and "personalseg migrate" in check.detail
    db.upgrade(settings.database_url)
    assert foundations.ask(["database"])["database"].ok
