"""`/metrics` of the API: what it counts, what it reads from the rows, and whom it answers."""

from __future__ import annotations

import shutil
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from app import auth
from app.clock import utc_now
from app.db import Database
from app.errors import Unauthorized
from app.main import create_app
from app.observability.state import ServiceState
from app.settings import Settings
from app.tables import Job, JobKind, JobStatus, Worker
from tests.app.conftest import Caller
from tests.app.photos import jpeg
from tests.conftest import free_port

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

BOTH_DATABASES = True
TOKEN = "scrape-scrape-scrape"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_token": TOKEN})


def samples(client: httpx.Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels, as Prometheus reads them."""
    answer = client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


def labelled(name: str, **labels: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


def test_only_the_operator_may_read_them(anonymous: httpx.Client, service: Caller, alice: Caller) -> None:
    assert anonymous.get("/metrics").status_code == 401
    assert anonymous.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}x"}).status_code == 401
    assert alice("GET", "/metrics").json()["code"] == "service_token_needed"
    assert service("GET", "/metrics").status_code == 200
    assert anonymous.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_without_a_metrics_token_an_empty_one_opens_nothing(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"metrics_token": None}))) as client:
        for header in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
            assert client.get("/metrics", headers=header).status_code == 401


def test_requests_are_counted_by_route_and_name_nobody(anonymous: httpx.Client, alice: Caller) -> None:
    alice("GET", "images")
    alice("GET", "images")
    anonymous.get("/v1/users/nobody-s-secret/images")
    anonymous.get("/no/such/secret/place")
    anonymous.request("BREW", "/healthz")
    found = samples(anonymous)
    route = "/v1/users/{user_id}/images"
    assert found[labelled("personalseg_http_requests_total", method="GET", route=route, status="200")] == 2
    assert found[labelled("personalseg_http_requests_total", method="GET", route="none", status="404")] == 1
    assert found[labelled("personalseg_http_requests_total", method="other", route="/healthz", status="405")] == 1
    assert found[labelled("personalseg_http_request_seconds_count", method="GET", route=route)] >= 2
    assert found[labelled("personalseg_http_requests_in_flight")] == 1  # the one that asks
    text = str(found)
    assert "secret" not in text and alice.user_id not in text


def test_uploads_are_counted_by_what_became_of_them(anonymous: httpx.Client, alice: Caller) -> None:
    photo = jpeg(seed=1)
    alice.upload([("a.jpg", photo), ("again.jpg", photo), ("b.jpg", b"no photo at all")])
    found = samples(anonymous)
    assert found[labelled("personalseg_uploads_total", status="stored", code="")] == 1
    assert found[labelled("personalseg_uploads_total", status="duplicate", code="")] == 1
    assert found[labelled("personalseg_uploads_total", status="rejected", code="not_an_image")] == 1
    assert found[labelled("personalseg_upload_bytes_total")] == 2 * len(photo) + len(b"no photo at all")


def test_requests_that_wait_for_a_thread_are_told_while_they_wait(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def stand_still(*_arguments: object) -> NoReturn:
        goes_on.wait(60)
        raise Unauthorized("Nobody.")

    monkeypatch.setattr(auth, "authenticate", stand_still)
    waiting = labelled("personalseg_http_requests_waiting")
    with TestClient(create_app(settings.model_copy(update={"request_threads": 2}))) as client, ThreadPoolExecutor(7) as callers:
        asked = [callers.submit(client.get, "/v1/me", headers={"Authorization": "Bearer anything"}) for _ in range(7)]
        deadline = time.monotonic() + 30
        while (found := samples(client)).get(waiting) != 5 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(answer.done() for answer in asked)
        goes_on.set()
        assert {answer.result().status_code for answer in asked} == {401}
        assert (found[waiting], found[labelled("personalseg_http_threads")]) == (5, 2)
        assert samples(client)[waiting] == 0


def add_jobs(database: Database, user_id: str) -> None:
    now = utc_now()
    old = now - timedelta(seconds=600)

    def job(status: JobStatus, **values: object) -> Job:
        return Job(user_id=user_id, kind=JobKind.SEGMENTATION, status=status, base="b", request={}, **values)

    with database.write() as session:
        first = Job(user_id=user_id, kind=JobKind.ADAPTATION, status=JobStatus.RUNNING, base="b", request={}, attempt=1)
        first.lease_expires_at = now + timedelta(seconds=60)
        session.add(first)
        session.flush()
        session.add(job(JobStatus.QUEUED, created_at=old))
        # Given way a minute ago: it waits since then, not since it was made.
        session.add(job(JobStatus.QUEUED, created_at=old - timedelta(days=1), served_at=now - timedelta(seconds=60)))
        session.add(job(JobStatus.QUEUED, created_at=old - timedelta(days=2), depends_on=first.id))
        session.add(job(JobStatus.RUNNING, attempt=1, created_at=old, served_at=now, lease_expires_at=now - timedelta(seconds=5)))
        session.add(job(JobStatus.FAILED))
        session.add(Worker(queues=["segmentation"], hostname="here", pid=1, device="cpu"))
        session.add(Worker(queues=["segmentation"], hostname="gone", pid=2, device="cpu", heartbeat_at=old))


def test_the_rows_tell_queue_and_workers(anonymous: httpx.Client, alice: Caller, api_database: Database) -> None:
    add_jobs(api_database, alice.user_id)
    found = samples(anonymous)
    assert found[labelled("personalseg_jobs", kind="segmentation", status="queued")] == 3
    assert found[labelled("personalseg_jobs", kind="segmentation", status="failed")] == 1
    assert found[labelled("personalseg_jobs", kind="adaptation", status="refused")] == 0
    # Two queued ones and the abandoned one; not the one that waits for the adaptation.
    assert found[labelled("personalseg_queue_depth", kind="segmentation")] == 3
    assert found[labelled("personalseg_queue_depth", kind="adaptation")] == 0
    assert 600 <= found[labelled("personalseg_queue_oldest_seconds", kind="segmentation")] < 900
    assert found[labelled("personalseg_jobs_abandoned", kind="segmentation")] == 1
    assert found[labelled("personalseg_workers_alive", kind="segmentation")] == 1
    assert found[labelled("personalseg_workers_alive", kind="adaptation")] == 0
    assert {name: found[labelled("personalseg_dependency_up", dependency=name)] for name in ("database", "redis", "storage")} == {
        "database": 1,
        "redis": 1,
        "storage": 1,
    }


def test_the_room_of_the_fuller_disk_is_told(anonymous: httpx.Client, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.data_dir.mkdir(exist_ok=True)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=7 if folder == settings.data_dir.absolute() else 9))
    assert samples(anonymous)[labelled("personalseg_disk_free_bytes")] == 7

    def fail(_folder: Path) -> None:
        raise OSError("stale file handle")

    monkeypatch.setattr(shutil, "disk_usage", fail)
    found = samples(anonymous)
    assert labelled("personalseg_disk_free_bytes") not in found
    assert found[labelled("personalseg_dependency_up", dependency="database")] == 1


def test_rows_are_read_once_for_many_scrapes(api: FastAPI) -> None:
    from sqlalchemy import event

    wiring = api.state.wiring
    statements: list[str] = []
    event.listen(wiring.database.engine, "before_cursor_execute", lambda _c, _k, statement, *_: statements.append(statement))
    state = ServiceState(wiring.foundations)
    list(state.collect())
    first = len(statements)
    assert first > 0
    list(state.collect())
    assert len(statements) == first
    impatient = ServiceState(wiring.foundations, rows_seconds=0, checks_seconds=0)
    list(impatient.collect())
    list(impatient.collect())
    assert len(statements) > 2 * first


def test_a_database_that_is_away_is_told_with_the_metrics_token(settings: Settings) -> None:
    url = f"postgresql+psycopg://nobody:secret@127.0.0.1:{free_port()}/none"
    with TestClient(create_app(settings.model_copy(update={"database_url": url}))) as client:
        found = samples(client)
    assert found[labelled("personalseg_dependency_up", dependency="database")] == 0
    assert not [name for name, _ in found if name == "personalseg_jobs"]
