"""Who am I, and whom may a service see."""

from __future__ import annotations

import httpx

from tests.app.conftest import Caller, make_user

BOTH_DATABASES = True


def test_a_token_knows_its_holder(alice: Caller, service: Caller, anonymous: httpx.Client) -> None:
    assert alice("GET", "/v1/me").json() == {"kind": "user", "user_id": alice.user_id}
    assert service("GET", "/v1/me").json() == {"kind": "service", "user_id": None}
    assert anonymous.get("/v1/me").status_code == 401


def test_a_service_pages_through_its_users(service: Caller, alice: Caller) -> None:
    others = [make_user(service).user_id for _ in range(2)]
    first = service("GET", "/v1/users", params={"limit": 2}).json()
    second = service("GET", "/v1/users", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [user["id"] for user in first["items"] + second["items"]] == [alice.user_id, *others]
    assert second["next_cursor"] is None
    assert alice("GET", "/v1/users").json()["code"] == "service_token_needed"
    service("DELETE", f"/v1/users/{others[0]}")
    assert others[0] not in {user["id"] for user in service("GET", "/v1/users").json()["items"]}
