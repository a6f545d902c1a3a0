"""Tokens: shape, scopes, lifetimes, rotation; and how often a wrong one may be tried."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
import redis
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from app import auth
from app.attempts import FailedAttempts, client_address
from app.clock import utc_now
from app.db import Database
from app.errors import TooManyRequests
from app.main import create_app
from app.settings import Settings
from app.tables import Table, Token, TokenKind
from tests.app.conftest import Caller, TestClient
from tests.app.photos import jpeg


def with_token(caller: Caller, made: dict[str, str]) -> Caller:
    return Caller(caller.client, made["token"], caller.user_id)


@pytest.mark.parametrize("kind", list(TokenKind))
def test_a_token_is_256_random_bits_and_a_checksum(kind: TokenKind) -> None:
    texts = {auth.new_text(kind) for _ in range(200)}
    assert len(texts) == 200
    for text in texts:
        assert re.fullmatch(auth.PREFIX_OF_KIND[kind] + r"[0-9A-Za-z]{49}", text)
        assert auth.can_be_token(text)
    assert 62**43 >= 2**256


@given(st.integers(0, 48), st.sampled_from("0Zaz_-é\n"))
def test_a_token_with_another_character_is_not_asked_for(place: int, character: str) -> None:
    text = auth.new_text(TokenKind.USER)
    changed = text[: 9 + place] + character + text[10 + place :]
    assert changed == text or not auth.can_be_token(changed)


@given(st.text())
def test_whatever_is_sent_is_no_token(text: str) -> None:
    assert not auth.can_be_token(text)


def test_a_token_of_the_first_release_is_still_good(alice: Caller, api_database: Database) -> None:
    first_release = "pseg_usr_" + "-_0aZ" * 8 + "xyz"
    with api_database.write() as session:
        session.add(Token(user_id=alice.user_id, kind="user", token_hash=auth.hash_token(first_release), prefix="pseg_usr_-_0a"))
    assert Caller(alice.client, first_release, alice.user_id)("GET").status_code == 200


def test_what_cannot_be_a_token_costs_no_question(api: FastAPI, anonymous: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(auth, "_find", asked)
    text = auth.new_text(TokenKind.USER)
    for wrong in (text[:-1], text + "a", text[:-1] + ("a" if text[-1] != "a" else "b"), "x", "pseg_usr_" + "y" * 49):
        assert anonymous.get("/v1/me", headers={"Authorization": f"Bearer {wrong}"}).status_code == 401


def test_a_read_only_token_reads_and_writes_nothing(alice: Caller) -> None:
    alice.upload_photos(2)
    made = alice("POST", "tokens", json={"scope": "read_only"}).json()
    assert made["token"].startswith("pseg_uro_") and made["scope"] == "read_only"
    reader = with_token(alice, made)
    assert reader("GET", "images").json()["items"]
    assert reader("GET", "/v1/me").json() == {"kind": "read_only", "user_id": alice.user_id}
    attempts = [
        ("POST", "images", {"files": [("files", ("a.jpg", jpeg(seed=1)))]}),
        ("POST", "adaptations", {}),
        ("POST", "segmentations", {"json": {}}),
        ("POST", "tokens", {}),
        ("DELETE", f"tokens/{made['id']}", {}),
        ("DELETE", "", {}),
        ("POST", "/v1/users", {}),
    ]
    for method, path, body in attempts:
        answer = reader(method, path, **body)
        assert (answer.status_code, answer.json()["code"]) == (403, "read_only_token"), path
    assert alice("GET").json()["images"] == 2


@pytest.mark.parametrize(("wish", "days"), [({"expires_in_days": 30}, 30), ({"expires_in_seconds": 86400}, 1), ({}, None)])
def test_a_token_lives_as_long_as_was_wished(alice: Caller, wish: dict[str, int], days: int | None) -> None:
    expires_at = alice("POST", "tokens", json=wish).json()["expires_at"]
    if days is None:
        assert expires_at is None
    else:
        assert abs(datetime.fromisoformat(expires_at) - utc_now() - timedelta(days=days)) < timedelta(minutes=5)


@pytest.mark.parametrize(
    "wish", [{"expires_in_days": 0}, {"expires_in_days": 3651}, {"expires_in_days": 1, "expires_in_seconds": 1}, {"scope": "service"}]
)
def test_other_wishes_are_refused(alice: Caller, wish: dict[str, object]) -> None:
    answer = alice("POST", "tokens", json=wish)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


def test_a_token_makes_none_that_outlives_it(alice: Caller, service: Caller) -> None:
    short = alice("POST", "tokens", json={"expires_in_seconds": 3600}).json()
    holder = with_token(alice, short)
    for wish in ({}, {"expires_in_days": 365}):
        assert holder("POST", "tokens", json=wish).json()["expires_at"] == short["expires_at"]
    assert holder("POST", f"tokens/{short['id']}/rotate").json()["expires_at"] <= short["expires_at"]
    assert service("POST", f"/v1/users/{alice.user_id}/tokens").json()["expires_at"] is None


def test_a_token_is_replaced_at_once_or_after_a_while(alice: Caller, api_database: Database) -> None:
    first = alice("POST", "tokens", json={"scope": "read_only", "expires_in_days": 10}).json()
    second = alice("POST", f"tokens/{first['id']}/rotate").json()
    assert second["scope"] == "read_only" and second["expires_at"] is not None
    assert with_token(alice, first)("GET").status_code == 401
    assert with_token(alice, second)("GET").status_code == 200
    third = alice("POST", f"tokens/{second['id']}/rotate", json={"grace_seconds": 600}).json()
    assert {with_token(alice, made)("GET").status_code for made in (second, third)} == {200}
    with api_database.write() as session:
        ends = session.get_one(Token, second["id"]).revoked_at
        assert ends is not None and timedelta(seconds=590) < ends - utc_now() < timedelta(seconds=601)
        session.execute(update(Token).where(Token.id == second["id"]).values(revoked_at=utc_now()))
    assert with_token(alice, second)("GET").status_code == 401
    again = alice("POST", f"tokens/{second['id']}/rotate")
    assert (again.status_code, again.json()["code"]) == (409, "token_not_valid")


def test_while_its_grace_lasts_a_token_is_not_replaced_again(alice: Caller, service: Caller) -> None:
    old = service("POST", f"/v1/users/{alice.user_id}/tokens").json()
    path = f"/v1/users/{alice.user_id}/tokens/{old['id']}/rotate"
    first = service("POST", path, json={"grace_seconds": 600}).json()
    assert first["expires_at"] is None
    again = service("POST", path, json={"grace_seconds": 600})
    assert (again.status_code, again.json()["code"]) == (409, "token_not_valid")
    (shown,) = [token for token in alice("GET", "tokens").json()["items"] if token["id"] == old["id"]]
    assert shown["expires_at"] == shown["revoked_at"] is not None
    # it makes none that outlives it, and can be ended at once
    assert with_token(alice, old)("POST", "tokens").json()["expires_at"] == shown["expires_at"]
    assert alice("DELETE", f"tokens/{old['id']}").status_code == 204
    assert with_token(alice, old)("GET").status_code == 401


def test_a_token_may_replace_itself(alice: Caller) -> None:
    own = alice("GET", "tokens").json()["items"][0]["id"]
    new = with_token(alice, alice("POST", f"tokens/{own}/rotate").json())
    assert alice("GET").status_code == 401 and new("GET").status_code == 200


def test_another_users_token_is_not_there(alice: Caller, bob: Caller) -> None:
    hers = alice("POST", "tokens").json()["id"]
    for method, path in (("POST", f"tokens/{hers}/rotate"), ("DELETE", f"tokens/{hers}")):
        answer = bob(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "token_not_found")


def test_the_database_knows_only_hashes(alice: Caller, api_database: Database, tmp_path: Path) -> None:
    texts = [
        alice.token,
        alice("POST", "tokens").json()["token"],
        alice("POST", "tokens", headers={"Idempotency-Key": "k"}).json()["token"],
    ]
    with api_database.read() as session:
        assert {auth.hash_token(text) for text in texts} <= set(session.scalars(select(Token.token_hash)))
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] + _rows(api_database)
    assert stored and not [text for text in texts for held in stored if text.encode() in held]


def _rows(database: Database) -> list[bytes]:
    """Every row of every table, as text."""
    with database.read() as session:
        return [repr(row).encode() for table in Table.metadata.sorted_tables for row in session.execute(select(table))]


# Wrong tokens ---------------------------------------------------------------------------------------------------------


def try_wrong(client: httpx.Client, **headers: str) -> httpx.Response:
    return client.get("/v1/me", headers={"Authorization": f"Bearer {auth.new_text(TokenKind.USER)}", **headers})


def limited(settings: Settings, **changes: object) -> TestClient:
    return TestClient(create_app(settings.model_copy(update={"auth_failures_per_minute": 3, **changes})), client=("203.0.113.7", 5000))


def test_many_wrong_tokens_are_429_and_a_right_one_passes(settings: Settings, alice: Caller) -> None:
    with limited(settings) as client:
        assert [try_wrong(client).status_code for _ in range(5)] == [401, 401, 401, 429, 429]
        refused = try_wrong(client)
        assert refused.json()["code"] == "too_many_failed_attempts"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert client.get("/v1/me", headers={"Authorization": f"Bearer {alice.token}"}).status_code == 200
        assert client.get("/v1/me").status_code == 401, "who sends none has tried nothing"
    with TestClient(create_app(settings.model_copy(update={"auth_failures_per_minute": 3})), client=("203.0.113.8", 1)) as other:
        assert try_wrong(other).status_code == 401, "another address has its own count"


def test_all_processes_count_together(settings: Settings) -> None:
    with limited(settings) as one, limited(settings) as other:
        assert [try_wrong(client).status_code for client in (one, other, one, other)] == [401, 401, 401, 429]


def test_a_forwarded_address_is_believed_only_by_a_setting(settings: Settings) -> None:
    with limited(settings) as client:
        assert [try_wrong(client, **{"X-Forwarded-For": f"198.51.100.{n}"}).status_code for n in range(4)] == [401, 401, 401, 429]
    with limited(settings, trusted_proxies=1) as client:
        assert {try_wrong(client, **{"X-Forwarded-For": f"198.51.100.{n}"}).status_code for n in range(10, 20)} == {401}
        # What the caller wrote to the left of the proxy's own word changes nothing.
        spoofed = [try_wrong(client, **{"X-Forwarded-For": f"10.0.0.{n}, 198.51.100.99"}).status_code for n in range(4)]
        assert spoofed == [401, 401, 401, 429]


@pytest.mark.parametrize(
    ("host", "forwarded", "proxies", "address"),
    [
        ("192.0.2.1", "", 0, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", 0, "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", 1, "198.51.100.1"),
        ("192.0.2.1", "198.51.100.1:5000", 1, "198.51.100.1"),
        ("192.0.2.1", "1.1.1.1, 198.51.100.1, 10.0.0.1", 2, "198.51.100.1"),
        ("192.0.2.1", "198.51.100.1", 2, "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.9", "", 0, "192.0.2.9"),
        (None, "", 0, "local"),
    ],
)
def test_whose_attempt_it_is(host: str | None, forwarded: str, proxies: int, address: str) -> None:
    from fastapi import Request

    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    request = Request({"type": "http", "headers": headers, "client": (host, 1) if host else None})
    assert client_address(request, proxies) == address


def test_without_redis_attempts_are_counted_here(tmp_path: Path, redis_url: str) -> None:
    attempts = FailedAttempts(f"unix://{tmp_path}/nowhere.sock", 2)
    attempts.note("a")
    attempts.note("a")
    with pytest.raises(TooManyRequests):
        attempts.note("a")
    attempts.note("b")
    assert redis.Redis.from_url(redis_url).keys("*") == []


def test_what_redis_holds_of_attempts_fades(settings: Settings, redis_url: str) -> None:
    with limited(settings) as client:
        try_wrong(client)
    held = redis.Redis.from_url(redis_url)
    keys = held.keys("*")
    assert len(keys) == 1 and 0 < held.ttl(keys[0]) <= 61
