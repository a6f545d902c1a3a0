"""Tokens that ended long ago are removed, all others stay; and a user's list of tokens comes in pages."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import insert, select, update

from app import ended_tokens
from app.clock import utc_now
from app.db import Database
from app.ids import new_id
from app.settings import Settings
from app.tables import Token, TokenKind
from tests.app.conftest import Caller

BOTH_DATABASES = True
KEY = {"Idempotency-Key": "once"}


def add_tokens(database: Database, user_id: str | None, count: int = 1, **values: Any) -> list[str]:
    kind = TokenKind.SERVICE if user_id is None else TokenKind.USER
    made = utc_now() - timedelta(days=400)
    rows = [{"id": new_id(), "token_hash": new_id(), **values} for _ in range(count)]
    with database.write() as session:
        session.execute(insert(Token), [{"user_id": user_id, "kind": kind, "prefix": "pseg_", "created_at": made, **row} for row in rows])
    return [row["id"] for row in rows]


def held(database: Database) -> set[str]:
    with database.read() as session:
        return set(session.scalars(select(Token.id)))


@pytest.mark.parametrize("of", ["user", "service"])
@pytest.mark.parametrize("end", ["expires_at", "revoked_at"])
def test_a_token_is_removed_thirty_days_after_its_end(
    api_database: Database, settings: Settings, alice: Caller, bob: Caller, of: str, end: str
) -> None:
    owner = alice.user_id if of == "user" else None
    of_others = held(api_database)
    now = utc_now()
    add_tokens(api_database, owner, **{end: now - timedelta(days=30, seconds=1)})
    kept = [
        *add_tokens(api_database, owner, **{end: now - timedelta(days=29)}),
        *add_tokens(api_database, owner, **{end: now + timedelta(days=1)}),
        *add_tokens(api_database, owner),
    ]
    assert ended_tokens.forget(api_database, settings) == 1
    assert held(api_database) == {*of_others, *kept}
    assert ended_tokens.forget(api_database, settings) == 0
    assert {alice("GET").status_code, bob("GET").status_code} == {200}


def test_many_are_removed_in_one_go(api_database: Database, settings: Settings, alice: Caller) -> None:
    add_tokens(api_database, alice.user_id, 1201, expires_at=utc_now() - timedelta(days=31))
    assert ended_tokens.forget(api_database, settings) == 1201
    assert len(alice("GET", "tokens").json()["items"]) == 1


def test_what_a_key_made_is_there_as_long_as_the_key(api: FastAPI, api_database: Database, settings: Settings, alice: Caller) -> None:
    two_months = settings.model_copy(update={"idempotency_hours": 60 * 24.0})
    api.state.wiring.__dict__["settings"] = two_months
    made = alice("POST", "tokens", headers=KEY).json()
    with api_database.write() as session:
        session.execute(update(Token).where(Token.id == made["id"]).values(revoked_at=utc_now() - timedelta(days=31)))
    assert ended_tokens.forget(api_database, two_months) == 0
    assert alice("POST", "tokens", headers=KEY).json()["token"] == made["token"]


def test_pages_cover_the_tokens_once_in_order(api_database: Database, alice: Caller, bob: Caller) -> None:
    first = alice("GET", "tokens").json()["items"][0]["id"]
    made = [alice("POST", "tokens").json()["id"] for _ in range(4)]
    bob("POST", "tokens")
    seen: list[str] = []
    cursor = None
    for expected in (2, 2, 1):
        page = alice("GET", "tokens", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["items"]) == expected
        seen += [token["id"] for token in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None and seen == [first, *made]


def test_a_page_has_a_hundred_tokens_unless_told_otherwise(api_database: Database, alice: Caller) -> None:
    add_tokens(api_database, alice.user_id, 100)
    page = alice("GET", "tokens").json()
    assert len(page["items"]) == 100 and page["next_cursor"]
