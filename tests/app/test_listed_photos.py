"""Segmentations list so many photos, for so long; then their counts stay."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.errors import Conflict
from app.ids import earliest_id, new_id
from app.listed_photos import service
from app.operations.service import Operator, requeue_job
from app.tables import Job, SegmentationItem
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.photos import jpeg
from tests.at_once import at_once

BOTH_DATABASES = True

WISH = {"adapt": "never"}


def rows(api: FastAPI) -> int:
    with api.state.wiring.database.read() as session:
        return session.execute(select(func.count()).select_from(SegmentationItem)).scalar_one()


def ended(caller: Caller, api: FastAPI, **wish: object) -> str:
    job_id = str(caller("POST", "segmentations", json=WISH | wish).json()["id"])
    hand_worker.segment(api, job_id)
    return job_id


def make_old(api: FastAPI, job_id: str) -> str:
    """As if it had been made and had ended a year ago; returns its id of then."""
    then = utc_now() - timedelta(days=365)
    old_id = earliest_id(then)[:-4] + job_id[-4:]
    with api.state.wiring.database.write() as session:
        job = session.get_one(Job, job_id)
        session.add(
            Job(id=old_id, user_id=job.user_id, kind=job.kind, status=job.status, request=job.request, base=job.base, finished_at=then)
        )
        session.flush()
        session.execute(update(SegmentationItem).where(SegmentationItem.job_id == job_id).values(job_id=old_id))
    return old_id


def test_the_oldest_that_have_ended_give_way_and_keep_their_counts(alice: Caller, bob: Caller, api: FastAPI) -> None:
    api.state.wiring.settings.__dict__["max_listed_photos"] = 5
    photos = alice.upload_photos(2)
    his = ended(bob, api, image_ids=bob.upload_photos(1))
    first, second = ended(alice, api), ended(alice, api)
    with api.state.wiring.database.write() as session:
        session.execute(update(Job).where(Job.id == first).values(report={"photos": 2, "model_version": 0}))
    third = alice("POST", "segmentations", json=WISH)
    assert third.status_code == 202 and rows(api) == 5, "two of the second and the third, one of his"

    shortened = alice("GET", f"segmentations/{first}").json()
    assert shortened["items"] == [] and shortened["item_counts"] == {"pending": 0, "done": 2, "failed": 0}
    assert shortened["report"] == {"photos": 2, "model_version": 0, "item_counts": {"done": 2}}
    listed = {job["id"]: job["item_counts"]["done"] for job in alice("GET", "segmentations").json()["items"]}
    assert listed == {first: 2, second: 2, third.json()["id"]: 0}
    assert len(alice("GET", f"segmentations/{second}").json()["items"]) == 2
    assert len(bob("GET", f"segmentations/{his}").json()["items"]) == 1, "others keep theirs"
    assert alice("GET", f"images/{photos[0]}/mask").status_code == 200, "the masks stay"


def test_what_has_not_ended_gives_no_way(alice: Caller, api: FastAPI) -> None:
    api.state.wiring.settings.__dict__["max_listed_photos"] = 4
    photos = alice.upload_photos(3)
    kept = ended(alice, api, image_ids=photos[:1])
    under_way = alice("POST", "segmentations", json=WISH).json()["id"]
    refused = alice("POST", "segmentations", json=WISH)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_unfinished") and int(refused.headers["retry-after"]) >= 1
    assert rows(api) == 4 and len(alice("GET", f"segmentations/{kept}").json()["items"]) == 1, "a refused one takes nothing away"
    alice("POST", f"segmentations/{under_way}/cancel")
    assert alice("POST", "segmentations", json=WISH).status_code == 202
    assert alice("GET", f"segmentations/{under_way}").json()["item_counts"]["pending"] == 3


def test_room_is_made_in_advance_and_bit_by_bit(alice: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that not every request at the bound has to, and nobody else who writes waits for long."""
    api.state.wiring.settings.__dict__["max_listed_photos"] = 40
    alice.upload_photos(4)
    jobs = [ended(alice, api) for _ in range(10)]
    together: list[int] = []
    shorten = service.repository.shorten

    def noting(session: Session, user_id: str, job_ids: Sequence[str]) -> None:
        together.append(len(job_ids))
        shorten(session, user_id, job_ids)

    monkeypatch.setattr(service.repository, "shorten", noting)
    monkeypatch.setattr(service, "_PHOTOS_AT_ONCE", 1)
    assert alice("POST", "segmentations", json=WISH).status_code == 202
    assert together == [1, 1] and rows(api) == 36, "one for this request, and one of a twentieth of the bound"
    monkeypatch.setattr(service, "_PHOTOS_AT_ONCE", 100)
    monkeypatch.setattr(service, "_IN_ADVANCE", 2)
    assert alice("POST", "segmentations", json=WISH).status_code == 202
    assert together == [1, 1], "there was room"
    assert alice("POST", "segmentations", json=WISH).status_code == 202
    assert together == [1, 1, 6]
    assert [len(alice("GET", f"segmentations/{job_id}").json()["items"]) for job_id in jobs] == [0] * 8 + [4] * 2


def test_what_would_never_have_room_is_to_be_named_in_parts(alice: Caller, api: FastAPI) -> None:
    api.state.wiring.settings.__dict__["max_listed_photos"] = 2
    photos = alice.upload_photos(3)
    refused = alice("POST", "segmentations", json=WISH)
    assert (refused.status_code, refused.json()["code"], refused.json()["most"]) == (422, "too_many_images", 2)
    assert alice("POST", "segmentations", json=WISH | {"image_ids": photos[:2]}).status_code == 202


def test_what_ended_long_ago_is_shortened(alice: Caller, api: FastAPI) -> None:
    wiring = api.state.wiring
    alice.upload_photos(2)
    old, young = make_old(api, ended(alice, api)), ended(alice, api)
    assert service.shorten_old(wiring.database, wiring.settings) == 1
    assert rows(api) == 2
    assert alice("GET", f"segmentations/{old}").json()["item_counts"] == {"pending": 0, "done": 2, "failed": 0}
    assert len(alice("GET", f"segmentations/{young}").json()["items"]) == 2
    assert service.shorten_old(wiring.database, wiring.settings) == 0


def test_those_that_may_not_be_shortened_yet_hide_no_others(alice: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    wiring = api.state.wiring
    monkeypatch.setattr(service, "_LOOKED_AT", 1)
    alice.upload_photos(1)
    under_way, old, older = sorted(make_old(api, ended(alice, api)) for _ in range(3))
    with wiring.database.write() as session:
        session.execute(update(Job).where(Job.id == under_way).values(status="running"))
    assert service.shorten_old(wiring.database, wiring.settings) == 2
    assert [alice("GET", f"segmentations/{job_id}").json()["items"] == [] for job_id in (under_way, old, older)] == [False, True, True]


def test_what_another_has_shortened_keeps_its_counts(alice: Caller, api: FastAPI) -> None:
    """Of two that shorten the same job at once the second finds nothing of it any more."""
    alice.upload_photos(2)
    job_id = ended(alice, api)
    for _ in range(2):
        with api.state.wiring.database.write() as session:
            service.repository.shorten(session, alice.user_id, [job_id])
    assert alice("GET", f"segmentations/{job_id}").json()["item_counts"] == {"pending": 0, "done": 2, "failed": 0}


def test_requests_at_once_at_the_bound_are_all_answered(alice: Caller, api: FastAPI) -> None:
    api.state.wiring.settings.__dict__["max_listed_photos"] = 12
    alice.upload_photos(2)
    first = [ended(alice, api) for _ in range(6)]
    answers = at_once(4, lambda: alice("POST", "segmentations", json=WISH))
    assert [answer.status_code for answer in answers] == [202] * 4, [answer.text for answer in answers]
    assert {tuple(alice("GET", f"segmentations/{job_id}").json()["item_counts"].values()) for job_id in first} == {(0, 2, 0)}


def test_an_old_one_that_is_under_way_keeps_its_photos(alice: Caller, api: FastAPI) -> None:
    wiring = api.state.wiring
    alice.upload_photos(1)
    old = make_old(api, ended(alice, api))
    with wiring.database.write() as session:
        session.execute(update(Job).where(Job.id == old).values(status="queued"))
    assert service.shorten_old(wiring.database, wiring.settings) == 0 and rows(api) == 1


def test_a_shortened_one_is_not_queued_again(alice: Caller, api: FastAPI) -> None:
    wiring = api.state.wiring
    alice.upload_photos(1)
    old = make_old(api, ended(alice, api))
    service.shorten_old(wiring.database, wiring.settings)
    with wiring.database.write() as session:
        session.execute(update(Job).where(Job.id == old).values(status="failed"))
    with pytest.raises(Conflict, match="no more") as refusal:
        requeue_job(Operator(wiring.settings, wiring.database, wiring.storage), old)
    assert refusal.value.code == "job_not_requeued"


def test_a_repeated_request_for_one_photo_makes_its_mask_anew(alice: Caller, api: FastAPI) -> None:
    """Its first job has ended in vain, and lists nothing by which to see it."""
    wiring = api.state.wiring
    wiring.settings.__dict__["segment_wait_seconds"] = 0.1
    headers = {"Content-Type": "image/jpeg", "Idempotency-Key": "k"}
    first = alice("POST", "segment", content=jpeg(), headers=headers)
    assert (first.status_code, first.json()["code"]) == (504, "segmentation_not_in_time")
    job_id = first.json()["job"].rsplit("/", 1)[1]
    alice("POST", f"segmentations/{job_id}/cancel")
    with wiring.database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(finished_at=utc_now() - timedelta(days=365)))
        user_id = session.get_one(Job, job_id).user_id
        service.repository.shorten(session, user_id, [job_id])
    again = alice("POST", "segment", content=jpeg(), headers=headers)
    assert (again.status_code, again.json()["code"]) == (504, "segmentation_not_in_time") and again.json()["job"] != first.json()["job"]


def test_ids_of_a_moment_and_later_are_no_smaller() -> None:
    before, made, after = utc_now() - timedelta(milliseconds=2), new_id(), utc_now() + timedelta(milliseconds=2)
    assert earliest_id(before) <= made < earliest_id(after) and len(earliest_id(before)) == len(made)
