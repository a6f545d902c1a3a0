"""Readiness by part, and during an upgrade: a running process outlives a newer schema, a starting one does not take it."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import httpx
import pytest

from app import db
from app.checks import Check, Foundations, Probes
from app.db import Database
from app.main import create_app
from app.settings import Settings
from app.storage import Storage
from app.tables import Worker
from tests.conftest import requests_told

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


def test_the_store_is_asked_once_by_any_number_of_probes(
    settings: Settings, s3_server: str, s3_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    own = {"storage_url": f"s3://{s3_bucket}", "storage_endpoint_url": s3_server, "storage_key_id": "key", "storage_secret": "secret"}
    with TestClient(create_app(settings.model_copy(update=own))) as client, requests_told(caplog) as told:
        for _ in range(4):
            assert client.get("/readyz?check=storage&check=database").json()["ready"] is True
    assert len([line for line in told if '"PUT /' in line]) == 1


def test_a_store_that_goes_away_is_told_when_its_answer_is_too_old(settings: Settings, database: Database, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    foundations = Foundations(settings, database, Storage(f"file://{blobs}"))
    lasting, fleeting = Probes(foundations, storage_seconds=3600.0), Probes(foundations, storage_seconds=0.0)
    assert lasting.ask(["storage"])["storage"].ok and fleeting.ask()["storage"].ok
    shutil.rmtree(blobs)
    blobs.write_text("in the way")
    assert not fleeting.ask(["storage"])["storage"].ok
    assert not foundations.ask(["storage"])["storage"].ok, "the operator's command asks anew"
    assert list(lasting.ask(["workers", "storage"])) == ["workers", "storage"]
    assert lasting.ask()["storage"].ok


def test_only_the_store_is_remembered(settings: Settings) -> None:
    app = create_app(settings)
    with TestClient(app) as client:
        assert client.get("/readyz").json()["checks"]["workers"]["ok"] is False
        with app.state.wiring.database.write() as session:
            session.add(Worker(queues=["adaptation"], hostname="h", pid=1, device="cpu"))
        assert client.get("/readyz").json()["ready"] is True


def test_a_part_that_a_stranger_names_a_thousand_times_is_asked_once(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    foundations, asked = Foundations(settings, database, Storage(settings.storage_url)), list[str]()
    really_ask = foundations.ask

    def ask(_: Foundations, names: list[str]) -> dict[str, Check]:
        asked.extend(names)
        return really_ask(names)

    monkeypatch.setattr(Foundations, "ask", ask)
    assert list(Probes(foundations).ask(["database", "workers"] * 1000)) == ["database", "workers"]
    assert asked == ["database", "workers"]
