"""A request that ends the token it came with is answered again to that token, and to nobody else; on both databases."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, update

from app.clock import utc_now
from app.db import Database
from app.tables import IdempotencyKey, Token, User
from tests.app.conftest import Caller
from tests.at_once import at_once

BOTH_DATABASES = True
Renewal = Callable[..., httpx.Response]


def own_id(caller: Caller) -> str:
    return str(caller("GET", "tokens").json()["items"][-1]["id"])


def rotation(caller: Caller, **body: object) -> Renewal:
    path = f"tokens/{own_id(caller)}/rotate"
    return lambda key, by=caller, **other: by("POST", path, json={**body, **other} or None, headers={"Idempotency-Key": key})


def replacement(caller: Caller, **body: object) -> Renewal:
    wish = {"revoke_others": True, **body}
    return lambda key, by=caller, **other: by("POST", "tokens", json={**wish, **other}, headers={"Idempotency-Key": key})


RENEWALS = pytest.mark.parametrize("renewal", [rotation, replacement])


def holder(caller: Caller, answer: httpx.Response) -> Caller:
    return Caller(caller.client, answer.json()["token"], caller.user_id)


def is_shut_out(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@RENEWALS
def test_whoever_lost_the_answer_asks_again(alice: Caller, renewal: Callable[[Caller], Renewal]) -> None:
    send, key = renewal(alice), str(uuid4())
    first, second = send(key), send(key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json() and first.json()["token"]
    assert is_shut_out(alice("GET", "images")) and is_shut_out(alice("POST", "adaptations")), "answered again, and nothing else"
    assert holder(alice, second)("GET", "images").status_code == 200


@RENEWALS
def test_at_the_same_moment_too(alice: Caller, renewal: Callable[[Caller], Renewal]) -> None:
    send, key = renewal(alice), str(uuid4())
    answers = at_once(4, lambda: send(key))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["token"] for answer in answers}) == 1


@RENEWALS
def test_nothing_new_is_made_for_it(alice: Caller, renewal: Callable[[Caller], Renewal]) -> None:
    send, key = renewal(alice), str(uuid4())
    send(key)
    assert is_shut_out(send(str(uuid4()))), "another key"
    assert is_shut_out(alice("POST", "tokens", json={"revoke_others": True})), "no key"
    assert is_shut_out(alice("POST", "tokens", headers={"Idempotency-Key": key})) or renewal is replacement
    other = send(key, grace_seconds=5) if renewal is rotation else send(key, scope="read_only")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")


@RENEWALS
def test_a_key_that_can_be_guessed_does_not_do(alice: Caller, renewal: Callable[[Caller], Renewal]) -> None:
    send = renewal(alice)
    assert send("rotate-1").status_code == 201
    assert is_shut_out(send("rotate-1"))


@RENEWALS
def test_once_the_new_token_is_in_use_the_answer_has_arrived(alice: Caller, renewal: Callable[[Caller], Renewal]) -> None:
    send, key = renewal(alice), str(uuid4())
    holder(alice, send(key))("GET", "images")
    assert is_shut_out(send(key))


@RENEWALS
def test_it_is_for_some_minutes(alice: Caller, api_database: Database, renewal: Callable[[Caller], Renewal]) -> None:
    send, key = renewal(alice), str(uuid4())
    send(key)
    ended = utc_now() - timedelta(minutes=11)
    with api_database.write() as session:
        session.execute(update(Token).where(Token.revoked_at.is_not(None)).values(revoked_at=ended))
        for row in session.scalars(select(IdempotencyKey)):
            row.response = {**row.response, "maker_ends_at": ended.isoformat()}
    assert is_shut_out(send(key))


@RENEWALS
def test_only_the_token_that_made_it(alice: Caller, renewal: Callable[[Caller], Renewal]) -> None:
    """Other tokens of hers that ended at the same moment, for one."""
    other = holder(alice, alice("POST", "tokens"))
    reader = holder(alice, alice("POST", "tokens", json={"scope": "read_only"}))
    mine = holder(alice, alice("POST", "tokens"))
    send, key = renewal(mine), str(uuid4())
    assert send(key).status_code == 201
    if renewal is rotation:
        alice("DELETE", f"tokens/{other('GET', 'tokens').json()['items'][1]['id']}")
    assert is_shut_out(send(key, by=other))
    assert send(key, by=reader).status_code in (401, 403)
    assert send(key).status_code == 201


def test_a_token_that_was_revoked_otherwise_stays_out(alice: Caller, service: Caller) -> None:
    """Replaced with a grace, then revoked by hand: whoever did that meant it."""
    send, key, token_id = rotation(alice, grace_seconds=600), str(uuid4()), own_id(alice)
    assert send(key).status_code == send(key).status_code == 201
    service("DELETE", f"/v1/users/{alice.user_id}/tokens/{token_id}")
    assert is_shut_out(send(key))


def test_a_token_that_replaced_another_has_not_ended_itself(alice: Caller) -> None:
    path, key = f"tokens/{alice('POST', 'tokens').json()['id']}/rotate", {"Idempotency-Key": str(uuid4())}
    assert alice("POST", path, headers=key).status_code == 201
    alice("DELETE", f"tokens/{alice('GET', 'tokens').json()['items'][0]['id']}")
    assert is_shut_out(alice("POST", path, headers=key))


@pytest.mark.parametrize("change", [{"revoked_at": utc_now()}, {"expires_at": utc_now()}])
def test_a_new_token_that_is_not_valid_is_not_shown(alice: Caller, api_database: Database, change: dict[str, Any]) -> None:
    send, key = rotation(alice), str(uuid4())
    made = send(key).json()["id"]
    with api_database.write() as session:
        session.execute(update(Token).where(Token.id == made).values(**change))
    assert is_shut_out(send(key))


def test_neither_an_expired_token_nor_one_of_an_erased_user(alice: Caller, bob: Caller, api_database: Database) -> None:
    for caller, table, change in ((alice, Token, {"expires_at": utc_now()}), (bob, User, {"erased_at": utc_now()})):
        send, key = rotation(caller), str(uuid4())
        old = own_id(caller)
        send(key)
        with api_database.write() as session:
            session.execute(update(table).where(table.id == (old if table is Token else caller.user_id)).values(**change))
        assert is_shut_out(send(key))


def test_at_another_user_s_path_it_opens_nothing(alice: Caller, bob: Caller) -> None:
    key = str(uuid4())
    replacement(alice)(key)
    at_bob = Caller(alice.client, alice.token, bob.user_id)
    assert is_shut_out(at_bob("POST", "tokens", json={"revoke_others": True}, headers={"Idempotency-Key": key}))
