"""What one user does, or has done to them, changes no row of another: also where no wall stands behind the queries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app import freshness
from app.clock import utc_now
from app.erasures import service as erasures
from app.erasures.service import Places
from app.operations import repository as operations
from app.tables import PersonalModel, Table
from app.webhooks import outbox
from tests.app import hand_worker
from tests.app.conftest import Caller

URL = "https://example.org/hook"


@pytest.fixture
def places(api: FastAPI) -> Places:
    wiring = api.state.wiring
    return Places(wiring.database, wiring.storage, wiring.settings.redis_url)


def segmentation(caller: Caller) -> str:
    return str(caller("POST", "segmentations", json={"adapt": "never"}).json()["id"])


def live(caller: Caller, api: FastAPI) -> str:
    """Photos, a model, masks, a second token, a webhook with deliveries; returns a cancelled segmentation."""
    caller.upload_photos(2)
    assert caller("PUT", "webhook", json={"url": URL}).status_code == 201
    assert caller("POST", "tokens", json={"scope": "read_only"}).status_code == 201
    hand_worker.adapt(api, caller("POST", "adaptations").json()["id"])
    hand_worker.segment(api, segmentation(caller))
    cancelled = segmentation(caller)
    caller("POST", f"segmentations/{cancelled}/cancel")
    with api.state.wiring.database.write() as session:
        outbox.announce(session)
    return cancelled


def everything_of(places: Places, user_id: str) -> dict[str, object]:
    """Every row and every blob of the user's: what names them, or one of their jobs."""
    with places.database.read() as session:
        rows = {table.name: [row._asdict() for row in session.execute(select(table))] for table in Table.metadata.sorted_tables}
    own = {row["id"] for row in rows["jobs"] if row["user_id"] == user_id} | {user_id}
    held = {name: [row for row in found if own & {str(value) for value in row.values()}] for name, found in rows.items()}
    return {**held, "blobs": sorted(places.storage.keys(f"users/{user_id}"))}


def erase(alice: Caller, places: Places, _cancelled: str) -> None:
    # As a worker does it: no request, so no wall.
    erasures.begin(places.database, alice.user_id)
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 1, "no job of hers holds it up"


def revoke_others(alice: Caller, _places: Places, _cancelled: str) -> None:
    assert alice("POST", "tokens", json={"revoke_others": True}).status_code == 201


def remove_webhook(alice: Caller, _places: Places, _cancelled: str) -> None:
    assert alice("DELETE", "webhook").status_code == 204


def requeue(_alice: Caller, places: Places, cancelled: str) -> None:
    with places.database.write() as session:
        assert operations.requeue(session, cancelled, utc_now())


@pytest.mark.parametrize("action", [erase, revoke_others, remove_webhook, requeue], ids=lambda action: action.__name__)
def test_everything_of_another_user_stays_as_it_was(
    alice: Caller, bob: Caller, api: FastAPI, places: Places, action: Callable[[Caller, Places, str], None]
) -> None:
    cancelled = live(alice, api)
    live(bob, api)
    hand_worker.claim(api, segmentation(bob))
    segmentation(bob)
    before = everything_of(places, bob.user_id)
    assert {job["status"] for job in before["jobs"]} >= {"succeeded", "cancelled", "running", "queued"}  # type: ignore[attr-defined]
    assert {name for name, held in before.items() if not held} <= {"bases", "workers", "erasures", "idempotency_keys", "chores"}
    action(alice, places, cancelled)
    assert everything_of(places, bob.user_id) == before


def test_another_users_uploads_make_no_model_stale(alice: Caller, bob: Caller, api: FastAPI, places: Places) -> None:
    live(alice, api)
    bob.upload_photos(3)
    with places.database.read() as session:
        model = session.scalars(select(PersonalModel).where(PersonalModel.user_id == alice.user_id)).one()
        assert freshness.of_model(session, alice.user_id, model) == freshness.Freshness(photos=2, newer=0, removed=0)
        assert not freshness.needs_adaptation(session, api.state.wiring.settings, alice.user_id)
