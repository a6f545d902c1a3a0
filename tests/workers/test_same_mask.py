"""Two jobs of one user make the same mask at the same moment."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import select

from app.storage import confidence_key, labels_key
from app.tables import JobStatus, Mask
from tests.workers.conftest import BASE, add_photo, add_segmentation, job_of, photograph
from tests.workers.test_lease import within
from workers.segmentation import segment_photos
from workers.tasks import run
from workers.workshop import Workshop

BOTH_DATABASES = True


def test_the_slower_one_keeps_the_blobs_of_the_faster_one(workshop: Workshop, user_id: str) -> None:
    if workshop.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time.")
    image_id = add_photo(workshop, user_id, photograph("chelsea.png"))
    job_id = add_segmentation(workshop, user_id, [image_id], model="base")
    keys = [make(user_id, image_id, BASE, 0) for make in (labels_key, confidence_key)]
    slower = threading.Thread(target=run, args=(workshop, job_id, segment_photos))
    with workshop.database.write() as session:
        session.add(
            Mask(user_id=user_id, image_id=image_id, model_version=0, base=BASE, labels_key=keys[0], confidence_key=keys[1], classes=[])
        )
        session.flush()
        slower.start()
        assert within(60, lambda: workshop.storage.exists(keys[1]))
        time.sleep(1.0)  # now its INSERT waits for this transaction
    slower.join(60)
    assert job_of(workshop, job_id).status == JobStatus.SUCCEEDED
    with workshop.database.read() as session:
        assert len(session.scalars(select(Mask)).all()) == 1
    assert all(workshop.storage.exists(key) for key in keys)
