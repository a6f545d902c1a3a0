"""Erasing a user, and names in any language: what the two databases could do differently."""

from __future__ import annotations

from fastapi import FastAPI
from sqlalchemy import select

from app.db import Database
from app.tables import Table
from tests.app import hand_worker
from tests.app.conftest import Caller

BOTH_DATABASES = True


def test_any_language_names_a_user(service: Caller) -> None:
    for name in ("ولد", "🌻", "a' OR 1=1 --"):
        created = service("POST", "/v1/users", json={"external_id": name}).json()
        assert service("GET", f"/v1/users/{created['id']}").json()["external_id"] == name


def test_erasing_a_user_leaves_no_trace_and_spares_the_others(
    alice: Caller, bob: Caller, service: Caller, api: FastAPI, api_database: Database
) -> None:
    for caller in (alice, bob):
        caller.upload_photos(2)
        hand_worker.adapt(api, caller("POST", "adaptations", headers={"Idempotency-Key": "k"}).json()["id"])
        hand_worker.segment(api, caller("POST", "segmentations", json={"adapt": "never"}).json()["id"])
        caller("POST", "adaptations")
    answer = service("DELETE", f"/v1/users/{alice.user_id}")
    assert answer.status_code == 202
    assert answer.json()["report"] == {"images": 2, "masks": 2, "models": 1, "jobs": 3, "blobs": 7}
    with api_database.read() as session:
        for table in Table.metadata.sorted_tables:
            rows = session.execute(select(table)).all()
            assert alice.user_id not in repr(rows), table.name
    storage = api.state.wiring.storage
    assert not [key for key in storage._filesystem.find(storage._root) if alice.user_id in key]
    assert service("GET", f"/v1/users/{alice.user_id}").status_code == 404
    assert service("DELETE", f"/v1/users/{alice.user_id}").status_code == 404
    assert alice("GET").status_code == 401
    assert bob("GET").json()["images"] == 2 and bob("GET").json()["active_model_version"] == 1
