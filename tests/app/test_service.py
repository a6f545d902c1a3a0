"""Health, the catalogue, problems, the OpenAPI document."""

from __future__ import annotations

from datetime import timedelta

import anyio
import httpx
import pytest
import starlette.testclient
from fastapi import FastAPI

from app import auth
from app.clock import utc_now
from app.db import Database
from app.main import create_app
from app.settings import Settings
from app.tables import RegisteredBase, TokenKind, Worker
from tests.app.conftest import Caller, TestClient
from tests.conftest import free_port

CLASSES = [{"id": 0, "name": "background", "color": [0, 0, 0]}, {"id": 15, "name": "person", "color": [192, 128, 128]}]


def register(database: Database, *, heard_seconds_ago: float = 0) -> None:
    """What a worker does when it starts."""
    with database.write() as session:
        heard = utc_now() - timedelta(seconds=heard_seconds_ago)
        session.add(Worker(queues=["adaptation"], hostname="h", pid=1, device="cpu", heartbeat_at=heard))
        for name, is_default in (("deeplab", False), ("espnetv2", True)):
            session.add(
                RegisteredBase(name=name, title=name.title(), classes=CLASSES, licence="Apache-2.0", scores={}, is_default=is_default)
            )


def test_alive(anonymous: httpx.Client) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}
    assert "personalseg" in anonymous.get("/").text


def test_so_many_requests_at_a_time(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"request_threads": 3}))
    with starlette.testclient.TestClient(app) as client:
        assert client.portal is not None
        assert client.portal.call(lambda: anyio.to_thread.current_default_thread_limiter().total_tokens) == 3


def test_ready_only_with_a_worker_that_was_heard_lately(anonymous: httpx.Client, api_database: Database) -> None:
    without = anonymous.get("/readyz")
    assert without.status_code == 503
    assert {name: check["ok"] for name, check in without.json()["checks"].items()} == {
        "database": True,
        "redis": True,
        "storage": True,
        "workers": False,
    }
    register(api_database, heard_seconds_ago=1000)
    assert anonymous.get("/readyz").status_code == 503
    with api_database.write() as session:
        session.query(Worker).update({"heartbeat_at": utc_now()})
    ready = anonymous.get("/readyz")
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


def test_what_is_missing_is_named_and_leaks_nothing(settings: Settings) -> None:
    broken = settings.model_copy(update={"redis_url": f"redis://:secret@127.0.0.1:{free_port()}/0", "storage_url": "file:///proc/nowhere"})
    with TestClient(create_app(broken)) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503 and "secret" not in answer.text
    checks = answer.json()["checks"]
    assert [checks[name]["ok"] for name in ("database", "redis", "storage")] == [True, False, False]


def test_a_database_that_is_away_is_503(settings: Settings) -> None:
    url = f"postgresql+psycopg://nobody:secret@127.0.0.1:{free_port()}/none"
    with TestClient(create_app(settings.model_copy(update={"database_url": url}))) as client:
        answer = client.get("/v1/bases", headers={"Authorization": f"Bearer {auth.new_text(TokenKind.USER)}"})
        readiness = client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert readiness.status_code == 503 and readiness.json()["checks"]["database"]["ok"] is False
    assert "secret" not in answer.text + readiness.text


def test_the_catalogue_is_what_workers_registered(alice: Caller, api_database: Database) -> None:
    early = alice("GET", "/v1/bases")
    assert (early.status_code, early.json()["code"]) == (503, "no_worker_yet")
    assert int(early.headers["retry-after"]) > 0
    register(api_database)
    assert [base["name"] for base in alice("GET", "/v1/bases").json()["items"]] == ["espnetv2", "deeplab"]
    assert alice("GET", "/v1/classes").json() == {"base": "espnetv2", "items": CLASSES}
    unknown = alice("GET", "/v1/classes", params={"base": "other"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_base")
    alice.upload_photos(2)
    refused = alice("POST", "adaptations", json={"base": "other"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_base")
    assert alice("POST", "adaptations", json={"base": "deeplab"}).json()["base"] == "deeplab"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [("GET", "/nowhere", 404, "route_not_found"), ("PATCH", "/v1/users", 405, "method_not_allowed")],
)
def test_unknown_routes_are_problems(anonymous: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    answer = anonymous.request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_an_unexpected_error_leaks_nothing(api: FastAPI, anonymous: httpx.Client) -> None:
    def explode() -> None:
        raise RuntimeError("the password is hunter2")

    api.add_api_route("/explode", explode)
    answer = anonymous.get("/explode")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "hunter2" not in answer.text


def test_the_document_describes_every_route(api: FastAPI) -> None:
    document = api.openapi()
    for path, entry in document["paths"].items():
        for method, operation in entry.items():
            assert operation.get("summary") and operation.get("description"), (method, path)
            if path.startswith("/v1"):
                assert operation["security"], (method, path)
                assert "application/problem+json" in operation["responses"]["401"]["content"], (method, path)
    assert "HTTPValidationError" not in document["components"]["schemas"]
