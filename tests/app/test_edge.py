"""The layers around every route: headers, CORS, body bounds, request ids, logs that tell nothing, the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError

from app import auth, db
from app.log import configure_logging
from app.main import create_app
from app.settings import Settings
from app.tables import TokenKind
from tests.app import hand_worker
from tests.app.conftest import Caller, TestClient
from tests.app.photos import jpeg

EVERYWHERE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.fixture
def default_logging() -> Iterator[None]:
    """Logging as it was, after a test that has configured it."""
    yield
    configure_logging()


def require_headers(answer: httpx.Response) -> None:
    for name, value in EVERYWHERE.items():
        assert answer.headers[name] == value, (answer.request.url, name)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


def test_every_answer_carries_the_headers(api: FastAPI, anonymous: httpx.Client, alice: Caller) -> None:
    def explode() -> None:
        raise RuntimeError("the password is hunter2")

    api.add_api_route("/explode", explode)
    image_id = alice.upload([("a.jpg", jpeg())])[0]["image_id"]
    answers = [anonymous.get(path) for path in ("/", "/docs", "/healthz", "/readyz", "/openapi.json", "/nowhere", "/explode", "/v1/bases")]
    answers += [alice("GET", path) for path in ("", "images", f"images/{image_id}/content", f"images/{image_id}/mask", "nowhere")]
    assert {answer.status_code for answer in answers} >= {200, 401, 404, 500, 503}
    for answer in answers:
        require_headers(answer)


def test_what_is_a_users_is_kept_by_nobody_else(alice: Caller) -> None:
    image_id = alice.upload([("a.jpg", jpeg())])[0]["image_id"]
    for path in ("", "images", "tokens", f"images/{image_id}", "adaptations", "nowhere"):
        assert alice("GET", path).headers["cache-control"] == "no-store", path
    for path in (f"images/{image_id}/content", f"images/{image_id}/thumbnail"):
        answer = alice("GET", path)
        assert answer.headers["cache-control"].startswith("private"), path
        assert "Authorization" in answer.headers["vary"] and "sandbox" in answer.headers["content-security-policy"]


def test_pages_load_only_what_is_ours(anonymous: httpx.Client) -> None:
    for path in ("/", "/docs"):
        page = anonymous.get(path)
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert "://" not in re.sub(r'href="https?://[^"]*"', "", page.text), "no file from elsewhere"
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page.text), "nothing inline"
    for path in re.findall(r'(?:src|href)="(docs/[^"]+)"', anonymous.get("/docs").text):
        loaded = anonymous.get(f"/{path}")
        assert loaded.status_code == 200 and len(loaded.content) > 100, path
    assert anonymous.get("/redoc").status_code == 404


def test_hsts_is_a_setting(settings: Settings, anonymous: httpx.Client) -> None:
    assert "strict-transport-security" not in anonymous.get("/healthz").headers
    with TestClient(create_app(settings.model_copy(update={"hsts_seconds": 600}))) as client:
        assert client.get("/healthz").headers["strict-transport-security"].startswith("max-age=600")


def test_other_origins_are_let_in_only_by_a_setting(settings: Settings, anonymous: httpx.Client) -> None:
    asks = {"Origin": "https://photos.example", "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    assert not [name for name in anonymous.options("/v1/users", headers=asks).headers if name.startswith("access-control")]
    with TestClient(create_app(settings.model_copy(update={"cors_origins": ("https://photos.example",)}))) as client:
        allowed = client.options("/v1/users", headers=asks)
        assert allowed.headers["access-control-allow-origin"] == "https://photos.example"
        assert "access-control-allow-credentials" not in allowed.headers
        refused = client.options("/v1/users", headers={**asks, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in refused.headers
        answer = client.get("/v1/bases", headers={"Origin": "https://photos.example"})
        assert answer.status_code == 401 and answer.headers["access-control-allow-origin"] == "https://photos.example"


def pieces(count: int, size: int = 65536) -> Iterator[bytes]:
    yield b'{"external_id": "'
    for _ in range(count):
        yield b"x" * size


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_413_on_every_route_that_takes_json(api: FastAPI, service: Caller, announced: bool) -> None:
    taking = [
        (method.upper(), path.replace("{user_id}", "01a2046c-043a-747f-8490-f87cbc06157e"))
        for path, operations in api.openapi()["paths"].items()
        for method, operation in operations.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {}) and path.count("{") <= 1
    ]
    assert len(taking) >= 4
    for method, path in taking:
        body: object = b"x" * (1024 * 1024 + 1) if announced else pieces(17)
        answer = service(method, path, content=body, headers={"content-type": "application/json"})
        # Without a length a route that refuses the caller or the id first never reads the body.
        expected = {(413, "body_too_large")} if announced else {(413, "body_too_large"), (404, "user_not_found")}
        assert (answer.status_code, answer.json()["code"]) in expected, (method, path)
    if not announced:
        answer = service("POST", "/v1/users", content=pieces(17), headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


def test_one_photo_has_its_own_bound(alice: Caller, settings: Settings) -> None:
    far_too_large = b"\xff" * (2 * settings.max_upload_file_bytes + 100_000)
    answer = alice("POST", "segment", content=far_too_large, headers={"content-type": "image/jpeg"})
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    too_large = alice(
        "POST", "segment", content=far_too_large[: settings.max_upload_file_bytes + 1], headers={"content-type": "image/jpeg"}
    )
    assert (too_large.status_code, too_large.json()["code"]) == (413, "file_too_large")


@pytest.mark.parametrize("sent", ["abc-123", "A.b_c", "x" * 64])
def test_a_plain_request_id_is_taken(anonymous: httpx.Client, sent: str) -> None:
    assert anonymous.get("/healthz", headers={"X-Request-ID": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 65, "a b", "a\tb", "ä", "pseg_usr_secret", "a;b", "../x"])
def test_another_one_is_replaced(anonymous: httpx.Client, sent: str) -> None:
    answer = anonymous.get("/healthz", headers={b"X-Request-ID": sent.encode()})
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.headers["x-request-id"])


@pytest.mark.usefixtures("default_logging")
@pytest.mark.parametrize("as_json", [False, True])
def test_logs_tell_no_token_no_name_and_no_content(
    api: FastAPI, service: Caller, anonymous: httpx.Client, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    configure_logging("DEBUG", as_json=as_json)

    def explode() -> None:
        raise RuntimeError("boom")

    api.add_api_route("/explode/{name}", lambda name: explode())
    created = service("POST", "/v1/users", json={"external_id": "Ludwig-van"}).json()
    alice = Caller(anonymous, created["token"], created["id"])
    photo = jpeg(seed=99)
    entry = alice.upload([("grandmother-in-the-kitchen.jpg", photo), ("broken-holiday.jpg", b"no picture")])[0]
    adaptation = alice("POST", "adaptations")
    assert adaptation.status_code == 409
    alice.upload_photos(2)
    hand_worker.adapt(api, alice("POST", "adaptations", headers={"Idempotency-Key": "key-of-ludwig"}).json()["id"])
    segmentation = alice("POST", "segmentations", json={"adapt": "never"}).json()["id"]
    hand_worker.segment(api, segmentation)
    alice("GET", f"segmentations/{segmentation}/events")
    alice("GET", f"images/{entry['image_id']}/content", params={"name": "query-of-ludwig"})
    second = alice("POST", "tokens").json()["token"]
    anonymous.get("/v1/users/grandmother-in-the-kitchen/images", headers={"Authorization": f"Bearer {second}"})
    anonymous.get(f"/{second}", headers={"X-Request-ID": second})
    anonymous.get("/v1/me", headers={"Authorization": "Bearer pseg_usr_wrongwrongwrong"})
    assert anonymous.get(f"/explode/{second}").status_code == 500
    service("POST", "/v1/users", json={"external_id": "Ludwig-van"})
    alice("DELETE")
    shown = capsys.readouterr()
    logs = shown.err + shown.out
    assert logs.count("route=" if not as_json else '"route"') >= 12 and "boom" in logs
    secrets = (alice.token, second, service.token, "wrongwrongwrong", "grandmother", "holiday", "Ludwig", "ludwig", "Exif", "JFIF")
    for secret in secrets:
        assert secret not in logs, secret


@pytest.mark.usefixtures("default_logging")
def test_hidden_parameters_stay_hidden_when_the_database_fails(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("DEBUG")
    db.downgrade(settings.database_url, "base")
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        text = auth.new_text(TokenKind.USER)
        answer = client.get("/v1/me", headers={"Authorization": f"Bearer {text}"})
    # For SQLite a missing table is a database in trouble, for PostgreSQL a statement that makes no sense.
    assert answer.status_code == (503 if settings.database_url.startswith("sqlite") else 500)
    logs = capsys.readouterr().err
    assert "no such table" in logs or 'relation "tokens" does not exist' in logs
    assert text not in logs and auth.hash_token(text) not in logs


def test_answers_carry_the_headers_that_the_document_names(api: FastAPI, alice: Caller, service: Caller) -> None:
    def check(answer: httpx.Response, method: str, path: str) -> None:
        named = api.openapi()["paths"][path][method]["responses"][str(answer.status_code)]["headers"]
        assert named and [name for name in named if name not in answer.headers] == [], (method, path)

    photo, _ = alice.upload_photos(2)
    started = alice("POST", "adaptations")
    check(started, "post", "/v1/users/{user_id}/adaptations")
    check(alice("GET", f"adaptations/{started.json()['id']}"), "get", "/v1/users/{user_id}/adaptations/{job_id}")
    check(alice("POST", "segmentations", json={"adapt": "never"}), "post", "/v1/users/{user_id}/segmentations")
    for what in ("content", "thumbnail"):
        check(alice("GET", f"images/{photo}/{what}"), "get", f"/v1/users/{{user_id}}/images/{{image_id}}/{what}")
    erased = service("DELETE", f"/v1/users/{alice.user_id}")
    assert (erased.status_code, erased.headers["location"]) == (202, erased.json()["links"]["self"])
    assert "Location" in api.openapi()["paths"]["/v1/users/{user_id}"]["delete"]["responses"]["202"]["headers"]


@pytest.mark.parametrize("kind", [OperationalError, InterfaceError, InternalError])
def test_a_database_that_ends_a_transaction_is_away_not_a_defect(api: FastAPI, alice: Caller, kind: type[DBAPIError]) -> None:
    def explode() -> None:
        raise kind("UPDATE", {}, Exception("terminating connection due to idle-in-transaction timeout"))

    api.get("/v1/explode-database")(explode)
    answer = alice("GET", "/v1/explode-database")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "database_unavailable", "2")
