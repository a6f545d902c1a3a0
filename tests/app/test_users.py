"""Users, tokens, erasure, and who may do what."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from sqlalchemy import select, update

from app import auth
from app.clock import utc_now
from app.db import Database
from app.tables import Token
from tests.app.conftest import Caller


def code_of(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == answer.status_code and problem["detail"] and problem["title"]
    return answer.status_code, problem["code"]


def test_a_user_is_made_read_and_known_by_external_id(service: Caller) -> None:
    answer = service("POST", "/v1/users", json={"external_id": "customer-7"})
    assert answer.status_code == 201
    user = answer.json()
    assert answer.headers["location"] == f"/v1/users/{user['id']}"
    assert user["token"].startswith("pseg_usr_") and len(user["token"]) > 50
    read = service("GET", f"/v1/users/{user['id']}").json()
    assert (read["external_id"], read["images"], read["active_model_version"]) == ("customer-7", 0, None)
    assert "token" not in read
    taken = service("POST", "/v1/users", json={"external_id": "customer-7"})
    assert code_of(taken) == (409, "external_id_taken") and taken.json()["user_id"] == user["id"]


def test_two_users_may_be_without_an_external_id(service: Caller) -> None:
    assert {service("POST", "/v1/users").status_code for _ in range(2)} == {201}


@pytest.mark.parametrize(
    "body", [{"external_id": ""}, {"external_id": "a\0b"}, {"external_id": "x" * 256}, {"external_id": 3}, {"other": 1}, []]
)
def test_a_bad_user_is_refused_field_by_field(service: Caller, body: object) -> None:
    answer = service("POST", "/v1/users", json=body)
    assert code_of(answer) == (422, "validation_failed") and answer.json()["errors"]


@pytest.mark.parametrize("raw", [b'{"external_id": "\\ud800"}', b"{", b"\xff\xfe", b'{"external_id": 1e999}', b"[" * 5000])
def test_a_broken_body_is_refused(service: Caller, raw: bytes) -> None:
    answer = service("POST", "/v1/users", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422) and code_of(answer)[1] in ("validation_failed", "bad_request")


def test_a_user_token_makes_no_users(alice: Caller) -> None:
    assert code_of(alice("POST", "/v1/users")) == (403, "service_token_needed")


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer pseg_usr_wrong", "Basic abc", "bearer é", "Token x"])
def test_no_token_or_a_wrong_one_is_401(anonymous: httpx.Client, alice: Caller, header: str | None) -> None:
    headers = {} if header is None else {b"authorization": header.encode()}
    answer = anonymous.get(f"/v1/users/{alice.user_id}", headers=headers)
    assert code_of(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_tokens_are_held_as_hashes_only(api_database: Database, alice: Caller) -> None:
    with api_database.read() as session:
        for token in session.scalars(select(Token)):
            held = " ".join(str(value) for value in vars(token).values())
            assert alice.token not in held
            assert token.token_hash != "" and len(token.token_hash) == 64


def test_rotating_revokes_the_old_token(alice: Caller) -> None:
    answer = alice("POST", "tokens", json={"revoke_others": True})
    assert answer.status_code == 201
    assert code_of(alice("GET")) == (401, "unauthorized")
    new = Caller(alice.client, answer.json()["token"], alice.user_id)
    assert new("GET").status_code == 200
    listed = new("GET", "tokens").json()["items"]
    assert [entry["revoked_at"] is None for entry in listed] == [False, True]
    assert all("token" not in entry for entry in listed)


def test_revoking_one_token_leaves_the_others(alice: Caller, bob: Caller) -> None:
    second = alice("POST", "tokens").json()
    assert alice("DELETE", f"tokens/{second['id']}").status_code == 204
    assert alice.client.get("/v1/bases", headers={"Authorization": f"Bearer {second['token']}"}).status_code == 401
    assert alice("GET").status_code == 200
    assert code_of(bob("DELETE", f"tokens/{second['id']}")) == (404, "token_not_found")


def test_an_expired_token_is_401(alice: Caller, api_database: Database) -> None:
    second = alice("POST", "tokens", json={"expires_in_seconds": 60}).json()
    caller = Caller(alice.client, second["token"], alice.user_id)
    assert caller("GET").status_code == 200
    with api_database.write() as session:
        past = utc_now() - timedelta(seconds=1)
        session.execute(update(Token).where(Token.id == second["id"]).values(expires_at=past))
    assert caller("GET").status_code == 401


def test_the_last_use_is_written_at_most_once_a_minute(alice: Caller, api_database: Database) -> None:
    def last_used() -> object:
        return alice("GET", "tokens").json()["items"][0]["last_used_at"]

    first = last_used()
    assert first is not None and last_used() == first
    with api_database.write() as session:
        session.execute(update(Token).values(last_used_at=utc_now() - timedelta(seconds=61)))
    assert last_used() > first  # type: ignore[operator]


def test_the_first_service_token_is_made_once(api_database: Database) -> None:
    with api_database.write() as session:
        first = auth.ensure_service_token(session)
    with api_database.write() as session:
        assert first is not None and auth.ensure_service_token(session) is None
    with api_database.write() as session:
        session.execute(update(Token).values(revoked_at=utc_now()))
        assert auth.ensure_service_token(session) not in (None, first)


@pytest.mark.parametrize(
    ("headers", "body", "status", "code", "told"),
    [
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            b'{"external_id": "x"}',
            415,
            "not_json",
            "application/x-www-form-urlencoded",
        ),
        ({}, b'{"external_id": "x"}', 415, "not_json", "no Content-Type"),
        ({"Content-Type": "application/json"}, b'{"external_id": x}', 422, "validation_failed", "Expecting value at character 16"),
        ({"Content-Type": "application/json"}, b'{"external_id": "\xff"}', 422, "validation_failed", "not UTF-8"),
        ({"Content-Type": "application/json"}, b"[" * 100_000, 422, "validation_failed", "nested too deeply"),
        ({"Content-Type": "application/json"}, b'{"external_id": ' + b"9" * 5000 + b"}", 422, "validation_failed", "number is too long"),
    ],
)
def test_a_body_that_is_no_json_is_told_what_it_should_be(
    service: Caller, headers: dict[str, str], body: bytes, status: int, code: str, told: str
) -> None:
    answer = service("POST", "/v1/users", content=body, headers=headers)
    assert code_of(answer) == (status, code) and told in answer.json()["detail"]
