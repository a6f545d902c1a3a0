"""A blob store that is away for seconds costs a job time, and no photo."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO

import pytest
from sqlalchemy import update

from app import auto_adaptation, jobs
from app.clock import utc_now
from app.errors import StorageUnavailable
from app.operations import repository as operations
from app.storage import Storage, photo_key
from app.tables import Image, ItemStatus, Job, JobKind, JobStatus, User
from tests.workers.conftest import add_adaptation, add_photo, add_segmentation, job_of, photograph, require_three_attempts
from tests.workers.test_checkpoints import Method, kept, method  # noqa: F401 - a fixture
from tests.workers.test_jobs_done import items_of
from tests.workers.test_lease import hold_job
from workers import patience, segmentation, tasks
from workers.adaptation import adapt_gallery
from workers.patience import await_store
from workers.segmentation import segment_photos
from workers.tasks import run
from workers.workshop import Workshop

AWAY = [
    StorageUnavailable("The object store does not answer"),
    OSError(errno.EIO, "Input/output error"),
    OSError(errno.ESTALE, "Stale file handle"),
]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks at the store no time needs to pass."""
    monkeypatch.setattr(patience, "_SHORTEST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(patience, "_LONGEST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def images(workshop: Workshop, user_id: str) -> list[str]:
    return [add_photo(workshop, user_id, photograph("astronaut.png", 40 + number)) for number in range(4)]


class Outage:
    """Fails what is asked of the store, from the call `after` on, for so many calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: OSError, *, after: int, calls: int) -> None:
        self.asked = itertools.count(1)
        self.ended = False
        path = Storage._path

        def ask(storage: Storage, key: str) -> str:
            if not self.ended and after < next(self.asked) <= after + calls:
                raise error
            return path(storage, key)

        monkeypatch.setattr(Storage, "_path", ask)


def never_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits until the lease has passed."""
    for module in (segmentation, tasks):
        monkeypatch.setattr(module, "await_store", lambda *_: False)


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_a_store_that_comes_back_costs_a_segmentation_nothing(
    workshop: Workshop, user_id: str, images: list[str], error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = add_segmentation(workshop, user_id, images, "base")
    Outage(monkeypatch, error, after=8, calls=12)
    run(workshop, job_id, segment_photos)
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert {item.status for item in items_of(workshop, job_id).values()} == {ItemStatus.DONE}


def test_a_store_that_stays_away_leaves_a_segmentation_that_can_be_gone_on_with(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    never_back(monkeypatch)
    job_id = add_segmentation(workshop, user_id, images, "base")
    outage = Outage(monkeypatch, AWAY[0], after=8, calls=10**6)
    require_three_attempts(workshop, job_id, segment_photos, "storage_error")
    states = [item.status for item in items_of(workshop, job_id).values()]
    assert ItemStatus.FAILED not in states and ItemStatus.DONE in states and ItemStatus.PENDING in states

    outage.ended = True
    with workshop.database.write() as session:
        assert operations.requeue(session, job_id, utc_now())
    run(workshop, job_id, segment_photos)
    assert job_of(workshop, job_id).status == JobStatus.SUCCEEDED
    assert {item.status for item in items_of(workshop, job_id).values()} == {ItemStatus.DONE}


def test_one_photo_on_a_bad_sector_fails_alone(
    workshop: Workshop, user_id: str, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with workshop.database.read() as session:
        bad = photo_key(user_id, session.get_one(Image, images[1]).sha256)
    real, tried = workshop.storage.open, []

    @contextmanager
    def unreadable(key: str) -> Iterator[IO[bytes]]:
        if key == bad:
            tried.append(key)
            raise OSError(errno.EIO, "Input/output error")
        with real(key) as stream:
            yield stream

    monkeypatch.setattr(workshop.storage, "open", unreadable)
    job_id = add_segmentation(workshop, user_id, images, "base")
    run(workshop, job_id, segment_photos)
    job, items = job_of(workshop, job_id), items_of(workshop, job_id)
    assert (job.status, job.attempt, len(tried)) == (JobStatus.SUCCEEDED, 1, 3)
    assert {image for image, item in items.items() if item.status != ItemStatus.DONE} == {images[1]}
    assert (items[images[1]].status, items[images[1]].error_code) == (ItemStatus.FAILED, "storage_error")


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_a_job_that_met_an_absent_store_is_tried_again(workshop: Workshop, user_id: str, error: OSError) -> None:
    def work(_workshop: Workshop, _held: object) -> None:
        raise error

    job_id = add_adaptation(workshop, user_id)
    require_three_attempts(workshop, job_id, work, "storage_error")


def test_a_full_store_fails_the_job_at_once(workshop: Workshop, user_id: str) -> None:
    def work(_workshop: Workshop, _held: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    job_id = add_adaptation(workshop, user_id)
    run(workshop, job_id, work)
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt, job.error_code) == (JobStatus.FAILED, 1, "storage_full")


def test_an_adaptation_that_nobody_asked_for_is_not_forgotten(workshop: Workshop, user_id: str, images: list[str]) -> None:
    with workshop.database.write() as session:
        session.execute(update(User).values(auto_adapt=True))
        session.execute(update(Image).values(created_at=utc_now() - timedelta(hours=1)))
    ((job_id, kind),) = [(due.job_id, due.kind) for due in auto_adaptation.queue_due(workshop.database, workshop.settings)]

    def work(_workshop: Workshop, _held: object) -> None:
        raise AWAY[0]

    run(workshop, job_id, work)
    assert (job_of(workshop, job_id).status, kind) == (JobStatus.QUEUED, JobKind.ADAPTATION)


def left_with_a_checkpoint(workshop: Workshop, user_id: str, method: Method) -> str:  # noqa: F811
    """An adaptation that met an absent store after its training, and is queued again."""

    def away() -> None:
        raise AWAY[0]

    job_id = add_adaptation(workshop, user_id)
    method.at = {"checking": away}
    run(workshop, job_id, adapt_gallery)
    assert job_of(workshop, job_id).status == JobStatus.QUEUED and len(kept(workshop, user_id, job_id)) == 1
    return job_id


def test_an_adaptation_that_met_an_absent_store_goes_on_from_its_checkpoint(
    workshop: Workshop,
    user_id: str,
    images: list[str],
    method: Method,  # noqa: F811
) -> None:
    job_id = left_with_a_checkpoint(workshop, user_id, method)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert job.status in (JobStatus.SUCCEEDED, JobStatus.REFUSED) and job.report is not None
    assert job.report["checkpoint"]["resumed_from"] in ("training", "checking")


@pytest.mark.parametrize("is_bad", [False, True])
def test_a_checkpoint_is_waited_for_and_one_on_a_bad_sector_given_up(
    workshop: Workshop,
    user_id: str,
    images: list[str],
    method: Method,  # noqa: F811
    is_bad: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = left_with_a_checkpoint(workshop, user_id, method)
    real, tried = workshop.storage.get_bytes, []

    def get_bytes(key: str) -> bytes:
        if "/checkpoints/" in key:
            tried.append(key)
            if is_bad or len(tried) == 1:
                raise OSError(errno.EIO, "Input/output error")
        return real(key)

    monkeypatch.setattr(workshop.storage, "get_bytes", get_bytes)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert job.status in (JobStatus.SUCCEEDED, JobStatus.REFUSED) and job.report is not None
    assert len(tried) == 2
    assert bool((job.report.get("checkpoint") or {}).get("resumed_from")) is not is_bad


def stop(workshop: Workshop, _job_id: str) -> None:
    workshop.stopping.set()


def cancel(workshop: Workshop, job_id: str) -> None:
    with workshop.database.write() as session:
        jobs.request_cancel(session, session.get_one(Job, job_id))
    workshop.stopping.set()  # does not wait for the heartbeat's look


@pytest.mark.parametrize(("what", "status"), [(stop, JobStatus.QUEUED), (cancel, JobStatus.CANCELLED)])
def test_who_waits_for_the_store_stops_when_asked(
    workshop: Workshop,
    user_id: str,
    what: Callable[[Workshop, str], None],
    status: JobStatus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = add_adaptation(workshop, user_id)

    def away(_storage: Storage) -> bool:
        what(workshop, job_id)
        return False

    def work(_workshop: Workshop, _held: object) -> None:
        raise AWAY[0]

    monkeypatch.setattr(patience, "_answers", away)
    run(workshop, job_id, work)
    job = job_of(workshop, job_id)
    assert (job.status, job.error_code) == (status, None)
    assert job.attempt == (0 if status == JobStatus.QUEUED else 1)


def test_waiting_for_the_store_ends_with_the_lease(workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Outage(monkeypatch, AWAY[0], after=0, calls=10**6)
    monkeypatch.setattr(patience, "_now", itertools.count(0.0, workshop.settings.lease_seconds / 2).__next__)
    with hold_job(workshop, add_adaptation(workshop, user_id)) as held:
        assert held is not None
        assert not await_store(workshop, held)
        assert not held.should_stop()


def test_a_store_that_is_full_answers(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    Outage(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), after=0, calls=10**6)
    assert patience._answers(workshop.storage)
