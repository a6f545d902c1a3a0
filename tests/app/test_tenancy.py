"""Every route of the OpenAPI document × every kind of caller; `-s` prints the matrix.

What a caller must meet follows from the route alone: whether it is open, the service's, or a user's, and whether it writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, update

from app import auth
from app.clock import utc_now
from app.main import create_app
from app.settings import Settings
from app.tables import Token, TokenKind
from tests.app import hand_worker
from tests.app.conftest import Caller, make_user
from tests.app.photos import jpeg

BOTH_DATABASES = True

OPEN_PATHS = {"/healthz", "/readyz", "/metrics"}
SERVICE_ONLY = {("POST", "/v1/users"), ("GET", "/v1/users"), ("GET", "/v1/erasures/{erasure_id}"), ("PATCH", "/v1/users/{user_id}")}
SERVICE_ONLY |= {("GET", "/v1/webhook/deliveries"), *((method, "/v1/webhook") for method in ("GET", "PUT", "DELETE"))}
READING = ("GET", "HEAD")


@pytest.fixture
def api(settings: Settings) -> FastAPI:
    """The application, with patience for the many wrong tokens that come from here."""
    return create_app(settings.model_copy(update={"auth_failures_per_minute": 1_000_000}))


@dataclass(frozen=True, order=True)
class Route:
    """One operation of the document."""

    method: str
    path: str

    @property
    def writes(self) -> bool:
        return self.method not in READING

    @property
    def is_users(self) -> bool:
        return "{user_id}" in self.path

    @property
    def is_service_only(self) -> bool:
        return (self.method, self.path) in SERVICE_ONLY

    @property
    def ids(self) -> int:
        return self.path.count("{")

    def body(self) -> dict[str, Any]:
        """A body with which the request would be read, were the caller the right one."""
        if self.method not in ("POST", "PUT", "PATCH"):
            return {}
        if self.path.endswith("/images"):
            return {"files": [("files", ("a.jpg", jpeg(seed=5)))]}
        if self.path.endswith("/segment"):
            return {"content": jpeg(seed=5), "headers": {"content-type": "image/jpeg"}}
        if self.path.endswith("/webhook"):
            return {"json": {"url": "https://hooks.example/personalseg"}}
        return {"json": {"adapt": "never"} if self.path.endswith("/segmentations") else {}}

    def filled(self, ids: dict[str, str]) -> str:
        """The path with ids in it."""
        kind = "adaptations" if "/adaptations" in self.path else "segmentations"
        return self.path.format(**ids, job_id=ids[kind])


ERASURE = Route("DELETE", "/v1/users/{user_id}")


def routes_of(api: FastAPI) -> list[Route]:
    """Every operation under a token; readers first, then what destroys least."""
    found = [Route(method.upper(), path) for path, entry in api.openapi()["paths"].items() for method in entry]
    rank = {"GET": 0, "PATCH": 1, "PUT": 2, "POST": 3, "DELETE": 4}
    return sorted((route for route in found if route.path not in OPEN_PATHS), key=lambda r: (r == ERASURE, rank[r.method], -r.ids, r.path))


def ids_of(caller: Caller, api: FastAPI) -> dict[str, str]:
    """One real id for every parameter of a path, all of this caller's user."""
    image_id, _ = caller.upload_photos(2)
    adaptation = caller("POST", "adaptations").json()["id"]
    version = hand_worker.adapt(api, adaptation)
    segmentation = caller("POST", "segmentations", json={"adapt": "never"}).json()["id"]
    hand_worker.segment(api, segmentation)
    return {
        "user_id": caller.user_id,
        "image_id": image_id,
        "token_id": caller("POST", "tokens").json()["id"],
        "version": str(version),
        "adaptations": adaptation,
        "segmentations": segmentation,
        "erasure_id": str(uuid4()),
    }


def unknown_ids() -> dict[str, str]:
    return {
        **{name: str(uuid4()) for name in ("user_id", "image_id", "token_id", "adaptations", "segmentations", "erasure_id")},
        "version": "1",
    }


def send(client: httpx.Client, header: str | None, route: Route, ids: dict[str, str], **extra: str) -> httpx.Response:
    body = route.body()
    headers = {**body.pop("headers", {}), **extra, **({} if header is None else {"Authorization": header})}
    return client.request(route.method, route.filled(ids), headers=headers, **body)


def shown(answer: httpx.Response) -> str:
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return f"{answer.status_code} {answer.json()['code']}" if is_problem else str(answer.status_code)


def refused_token() -> str:
    return "401 unauthorized"


def expected(route: Route, caller: str) -> str | None:
    """What this caller must meet; None: served, or told why not, as its owner would be."""
    if caller in ("nobody", "basic", "malformed", "wrong", "checksum", "revoked", "expired", "erased"):
        return refused_token()
    if caller.startswith("read-only") and route.writes:
        return "403 read_only_token"
    if caller != "service" and route.is_service_only:
        return "403 service_token_needed"
    if caller in ("other", "read-only other") and route.is_users:
        return "404 user_not_found"
    return None


REFUSALS = ("401", "403", "404 user_not_found")


@pytest.fixture
def callers(service: Caller, alice: Caller, bob: Caller, api: FastAPI) -> dict[str, str | None]:
    """The Authorization header of each kind of caller; alice is the owner."""

    def token(caller: Caller, **wish: object) -> tuple[str, str]:
        made = caller("POST", "tokens", json=wish).json()
        return made["id"], f"Bearer {made['token']}"

    revoked_id, revoked = token(alice)
    alice("DELETE", f"tokens/{revoked_id}")
    expired_id, expired = token(alice, expires_in_seconds=60)
    with api.state.wiring.database.write() as session:
        session.execute(update(Token).where(Token.id == expired_id).values(expires_at=utc_now() - timedelta(seconds=1)))
    gone = make_user(service)
    gone("DELETE")
    wrong = auth.new_text(TokenKind.USER)
    return {
        "nobody": None,
        "basic": "Basic YTpi",
        "malformed": "Bearer not-a-token",
        "checksum": f"Bearer {wrong[:-1]}{'a' if wrong[-1] != 'a' else 'b'}",
        "wrong": f"Bearer {wrong}",
        "revoked": revoked,
        "expired": expired,
        "erased": f"Bearer {gone.token}",
        "other": f"Bearer {bob.token}",
        "read-only other": token(bob, scope="read_only")[1],
        "read-only": token(alice, scope="read_only")[1],
        "owner": f"Bearer {alice.token}",
        "service": f"Bearer {service.token}",
    }


def test_the_matrix(api: FastAPI, alice: Caller, anonymous: httpx.Client, callers: dict[str, str | None]) -> None:
    ids = ids_of(alice, api)
    names = list(callers)
    rows: list[list[str]] = []
    wrong: list[str] = []
    routes = routes_of(api)
    assert len(routes) >= 40
    # Whoever may do it comes last: then the others have met what is there.
    for route in routes:
        row = []
        for name in names:
            # The user is erased once, by the owner; for the service that user is gone then.
            answer = send(anonymous, callers[name], route, ids)
            met, wanted = shown(answer), expected(route, name)
            if route == ERASURE and name == "service":
                wanted = "404 user_not_found"
            allowed = met == wanted if wanted else not met.startswith(REFUSALS) and answer.status_code not in (500, 502)
            row.append(met.split()[0] + ("" if allowed else " ✗"))
            if not allowed:
                wrong.append(f"{name}: {route.method} {route.path} met {met}, not {wanted or 'an answer'}")
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", (route, name)
                assert answer.headers["cache-control"] == "no-store", (route, name)
        rows.append([route.method, route.path, *row])
    print_matrix(["", "", *names], rows)
    assert not wrong, "\n".join(wrong)


def print_matrix(head: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    for row in [head, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def same_but_for_ids(answer: httpx.Response) -> tuple[object, ...]:
    """What of an answer could tell one refusal from another."""
    headers = {name: value for name, value in answer.headers.items() if name != "x-request-id"}
    return answer.status_code, answer.json(), headers


class Statements:
    """Counts what the database is asked: who is asked as much takes as long."""

    def __init__(self, api: FastAPI) -> None:
        self._engine = api.state.wiring.database.engine
        self._sql: list[str] = []

    def __enter__(self) -> list[str]:
        event.listen(self._engine, "before_cursor_execute", self._note)
        return self._sql

    def __exit__(self, *_: object) -> None:
        event.remove(self._engine, "before_cursor_execute", self._note)

    def _note(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._sql.append(statement)


def test_a_foreign_user_looks_in_every_way_like_an_unknown_one(api: FastAPI, alice: Caller, bob: Caller) -> None:
    theirs = ids_of(alice, api)
    bob("GET")
    before = {path: alice("GET", path).json() for path in ("", "images", "adaptations", "segmentations", "models", "tokens")}
    header = f"Bearer {bob.token}"
    for route in routes_of(api):
        if not route.is_users or route.is_service_only:
            continue
        with Statements(api) as asked_of_foreign:
            foreign = send(bob.client, header, route, theirs)
        with Statements(api) as asked_of_unknown:
            unknown = send(bob.client, header, route, unknown_ids())
        assert same_but_for_ids(foreign) == same_but_for_ids(unknown), route
        assert asked_of_foreign == asked_of_unknown, route
        assert alice.user_id not in foreign.text
    after = {path: alice("GET", path).json() for path in before}
    assert after == before


def test_foreign_ids_under_ones_own_user_look_like_unknown_ones(api: FastAPI, alice: Caller, bob: Caller) -> None:
    theirs = ids_of(alice, api)
    bob("GET")
    header = f"Bearer {bob.token}"
    checked = 0
    for route in routes_of(api):
        if not route.is_users or route.ids < 2:
            continue
        with Statements(api) as asked_of_foreign:
            foreign = send(bob.client, header, route, {**theirs, "user_id": bob.user_id})
        with Statements(api) as asked_of_unknown:
            unknown = send(bob.client, header, route, {**unknown_ids(), "user_id": bob.user_id})
        assert foreign.status_code == 404, (route, foreign.text)
        assert same_but_for_ids(foreign) == same_but_for_ids(unknown), route
        assert asked_of_foreign == asked_of_unknown, route
        checked += 1
    assert checked >= 14


def test_what_a_body_names_is_looked_up_among_ones_own(api: FastAPI, alice: Caller, bob: Caller) -> None:
    theirs = ids_of(alice, api)
    bob.upload_photos(2)

    def ask(image_id: str) -> httpx.Response:
        return bob("POST", "segmentations", json={"image_ids": [image_id], "adapt": "never"})

    foreign, unknown = ask(theirs["image_id"]), ask(str(uuid4()))
    assert (foreign.status_code, foreign.json()["code"]) == (404, "image_not_found")
    assert {**foreign.json(), "image_id": None} == {**unknown.json(), "image_id": None}
    by_version = bob("POST", "segmentations", json={"model": int(theirs["version"]), "adapt": "never"})
    assert (by_version.status_code, by_version.json()["code"]) == (404, "model_not_found")
    # The same photo is there twice, once for each: nobody learns that somebody else has it.
    assert [entry["status"] for entry in alice.upload([("a.jpg", jpeg(seed=3))])] == ["stored"]
    assert [entry["status"] for entry in bob.upload([("a.jpg", jpeg(seed=3))])] == ["stored"]


def test_a_known_etag_opens_nothing(api: FastAPI, alice: Caller, bob: Caller) -> None:
    ids = ids_of(alice, api)
    for path in ("content", "thumbnail", "mask", "mask?format=overlay"):
        etag = alice("GET", f"images/{ids['image_id']}/{path}").headers["etag"]
        held = {"If-None-Match": etag}
        assert alice("GET", f"images/{ids['image_id']}/{path}", headers=held).status_code == 304
        for user_id in (alice.user_id, bob.user_id):
            for tag in (etag, "*"):
                answer = bob("GET", f"/v1/users/{user_id}/images/{ids['image_id']}/{path}", headers={"If-None-Match": tag})
                assert answer.status_code == 404 and "etag" not in answer.headers, path


def test_events_of_another_user_never_begin(api: FastAPI, alice: Caller, bob: Caller) -> None:
    ids = ids_of(alice, api)
    for kind in ("adaptations", "segmentations"):
        for user_id in (alice.user_id, bob.user_id):
            answer = bob("GET", f"/v1/users/{user_id}/{kind}/{ids[kind]}/events", headers={"Last-Event-ID": "0"})
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_key_of_one_user_recalls_nothing_for_another(alice: Caller, bob: Caller) -> None:
    for caller in (alice, bob):
        caller.upload_photos(2)
    key = {"Idempotency-Key": "the-same"}
    hers, his = (caller("POST", "adaptations", headers=key).json()["id"] for caller in (alice, bob))
    assert hers != his and alice("POST", "adaptations", headers=key).json()["id"] == hers


def test_malformed_ids_have_their_code(alice: Caller) -> None:
    for path in ("images/x", "adaptations/1", "segmentations/" + "9" * 300, "images/x/mask"):
        answer = alice("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (422, "malformed_id")
