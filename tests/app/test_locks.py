"""Who waits for whom in the database: nobody in a ring, and nobody for what can be done a moment later."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app import jobs
from app.clock import utc_now
from app.images import repository as images
from app.listed_photos import repository as listed_photos
from app.segmentations import repository as segmentations
from app.tables import Image, Job, JobKind, JobStatus, SegmentationItem
from app.webhooks import outbox
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.deliveries import take_due

BOTH_DATABASES = True
WISH = {"adapt": "never"}


def test_the_photos_of_a_segmentation_stay_until_it_is_written(alice: Caller, api: FastAPI) -> None:
    first, second = alice.upload_photos(2)
    database = api.state.wiring.database
    answers = []
    deleting = threading.Thread(target=lambda: answers.append(alice("DELETE", f"images/{first}")))
    with database.write() as session:
        job = Job(user_id=alice.user_id, kind=JobKind.SEGMENTATION, base="espnetv2", request={})
        session.add(job)
        session.flush()
        chosen = images.all_ids(session, alice.user_id, limit=10, kept=True)
        assert images.existing_ids(session, alice.user_id, [second, first], kept=True) == {first, second}
        deleting.start()
        deleting.join(0.5)
        assert deleting.is_alive()
        segmentations.add_items(session, job, chosen)
    deleting.join()
    assert answers[0].status_code == 204
    with database.read() as session:
        assert session.scalars(select(SegmentationItem.image_id)).all() == [second]


@contextmanager
def locked(api: FastAPI, table: type[Job | Image], row_id: str) -> Iterator[None]:
    """While somebody else holds this row; where all writing is one at a time, there is nobody."""
    database = api.state.wiring.database
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite writes one at a time")
    with database.write() as session:
        session.execute(select(table.id).where(table.id == row_id).with_for_update())
        yield


def test_what_somebody_holds_is_announced_later(alice: Caller, api: FastAPI) -> None:
    alice("PUT", "webhook", json={"url": "https://example.org/hook"})
    alice.upload_photos(1)
    held, free = [alice("POST", "segmentations", json=WISH).json()["id"] for _ in range(2)]
    for job_id in (held, free):
        alice("POST", f"segmentations/{job_id}/cancel")
    database = api.state.wiring.database
    with locked(api, Job, held), database.write() as session:
        assert outbox.announce(session) == 1
    with database.write() as session:
        assert outbox.announce(session) == 1


def test_a_sweeper_waits_for_no_other(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(1)
    held, free, abandoned = [alice("POST", "segmentations", json=WISH).json()["id"] for _ in range(3)]
    database = api.state.wiring.database
    with database.write() as session:
        session.execute(update(Job).values(rung_at=None))
        session.execute(update(Job).where(Job.id == abandoned).values(cancel_requested=True))
    with locked(api, Job, held), database.write() as session:
        assert [due.job_id for due in jobs.due(session, utc_now())] == [free]
    with locked(api, Job, abandoned), database.write() as session:
        assert jobs.close_abandoned(session, utc_now()) == []
    with database.write() as session:
        assert [closed.job_id for closed in jobs.close_abandoned(session, utc_now())] == [abandoned]


def test_two_senders_take_one_message_of_a_webhook(service: Caller, alice: Caller, bob: Caller, api: FastAPI) -> None:
    """Each has chosen another one: behind the service's webhook any user may be next."""
    service("PUT", "/v1/webhook", json={"url": "https://example.org/hook"})
    for caller in (alice, bob):
        caller.upload_photos(1)
        job_id = caller("POST", "segmentations", json=WISH).json()["id"]
        caller("POST", f"segmentations/{job_id}/cancel")
    database = api.state.wiring.database
    with database.write() as session:
        outbox.announce(session)
        message, other = session.scalars(select(outbox.WebhookDelivery.id).order_by(outbox.WebhookDelivery.id)).all()
    if database.engine.dialect.name != "sqlite":
        with database.write() as one, database.write() as two:
            assert [each.delivery_id for each in outbox.take(one, [message], utc_now(), sending_seconds=60.0)] == [message]
            assert outbox.take(two, [other], utc_now(), sending_seconds=60.0) == []
    else:
        with database.write() as session:
            assert len(outbox.take(session, [message], utc_now(), sending_seconds=60.0)) == 1
    with database.write() as session:
        assert outbox.take(session, [other], utc_now(), sending_seconds=60.0) == []
        assert take_due(session, utc_now()) == []


def test_a_photo_that_is_being_deleted_and_a_shortened_job_do_not_wait_in_a_ring(alice: Caller, api: FastAPI) -> None:
    """Who shortens waits for the photo before anything of it is touched; so whoever deletes it goes on."""
    (photo,) = alice.upload_photos(1)
    job_id = alice("POST", "segmentations", json=WISH).json()["id"]
    hand_worker.segment(api, job_id)
    database = api.state.wiring.database
    if database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite writes one at a time")
    troubles: list[Exception] = []

    def shorten() -> None:
        try:
            with database.write() as session:
                listed_photos.shorten(session, alice.user_id, [job_id])
        except OperationalError as error:
            troubles.append(error)

    shortening = threading.Thread(target=shorten)
    with database.write() as session:
        session.execute(select(Image.id).where(Image.id == photo).with_for_update())
        shortening.start()
        shortening.join(0.5)
        assert shortening.is_alive()
        # What the foreign keys do when the photo's row goes.
        session.execute(select(SegmentationItem.job_id).where(SegmentationItem.image_id == photo).with_for_update(nowait=True))
        images.delete_image(session, alice.user_id, photo)
    shortening.join()
    assert troubles == []
    assert alice("GET", f"segmentations/{job_id}").json()["item_counts"] == {"pending": 0, "done": 0, "failed": 0}


def test_only_the_oldest_are_rung_for_at_once(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(1)
    job_ids = [alice("POST", "segmentations", json=WISH).json()["id"] for _ in range(5)]
    later = utc_now() + timedelta(seconds=jobs.RING_AGAIN_SECONDS + 1)
    rung = []
    for _ in range(4):
        with api.state.wiring.database.write() as session:
            rung.append([due.job_id for due in jobs.due(session, later, most={JobKind.SEGMENTATION: 2, JobKind.ADAPTATION: -3})])
    assert rung == [job_ids[:2], job_ids[2:4], job_ids[4:], []]
    with api.state.wiring.database.read() as session:
        assert {job.status for job in session.scalars(select(Job))} == {JobStatus.QUEUED}
