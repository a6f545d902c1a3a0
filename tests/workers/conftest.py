"""A worker's workshop in this process: a real database, a real blob store, the tiny base."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import skimage
import torch
from PIL import Image as Pillow

from app.settings import Settings
from app.storage import photo_key
from app.tables import Image, Job, JobKind, JobStatus, SegmentationItem, User
from tests.app.photos import encoded
from tests.models.conftest import at_half_the_side
from workers.cache import BaseCache
from workers.tasks import Work, run
from workers.workshop import Workshop, open_workshop

BASE = "espnetv2_tiny"


def photograph(name: str, width: int = 160) -> bytes:
    """A small JPEG of a photograph that ships inside scikit-image."""
    with Pillow.open(Path(skimage.__file__).parent / "data" / name) as image:
        return encoded(image.convert("RGB").resize((width, round(width * image.height / image.width))), "JPEG")


@pytest.fixture(scope="session")
def bases() -> BaseCache:
    """The tiny base, loaded once for all tests, at half its side: tested is what is done with what it sees."""
    torch.set_num_threads(1)  # the photos are small, and the cores may be shared
    cache = BaseCache("cpu")
    cache._loaded[BASE] = at_half_the_side(cache.get(BASE))
    return cache


@pytest.fixture
def workshop(database_url: str, tmp_path: Path, redis_url: str, store_settings: dict[str, str], bases: BaseCache) -> Iterator[Workshop]:
    """A worker's workshop on an empty deployment; every test runs on SQLite and on PostgreSQL."""
    settings = Settings(
        data_dir=tmp_path / "data",
        database_url=database_url,
        **store_settings,
        redis_url=redis_url,
        default_base=BASE,
        device="cpu",
        lease_seconds=3.0,
        heartbeat_seconds=0.5,
    )
    opened = replace(open_workshop(settings), bases=bases)
    yield opened
    opened.stopping.set()
    opened.decoder.close()
    opened.database.close()


@pytest.fixture
def user_id(workshop: Workshop) -> str:
    """A user without photos."""
    with workshop.database.write() as session:
        user = User()
        session.add(user)
    return user.id


def add_photo(workshop: Workshop, user_id: str, content: bytes, *, store: bool = True) -> str:
    """A photo as the API leaves it; returns its id."""
    sha256 = hashlib.sha256(content).hexdigest()
    if store:
        workshop.storage.put_bytes(photo_key(user_id, sha256), content)
    image = Image(
        user_id=user_id,
        sha256=sha256,
        filename="photo.jpg",
        media_type="image/jpeg",
        byte_size=len(content),
        width=1,
        height=1,
    )
    with workshop.database.write() as session:
        session.add(image)
    return image.id


def add_adaptation(workshop: Workshop, user_id: str, budget_seconds: float = 600.0) -> str:
    """A queued adaptation; returns its id."""
    job = Job(user_id=user_id, kind=JobKind.ADAPTATION, base=BASE, request={"budget_seconds": budget_seconds, "seed": 0})
    with workshop.database.write() as session:
        session.add(job)
    return job.id


def add_segmentation(workshop: Workshop, user_id: str, images: list[str], model: object = "personal", depends_on: str | None = None) -> str:
    """A queued segmentation of these photos; returns its id."""
    job = Job(
        user_id=user_id,
        kind=JobKind.SEGMENTATION,
        base=BASE,
        request={"model": model, "adapt": "never", "all": False},
        depends_on=depends_on,
    )
    with workshop.database.write() as session:
        session.add(job)
        session.flush()
        for position, image_id in enumerate(images):
            session.add(SegmentationItem(job_id=job.id, image_id=image_id, position=position))
    return job.id


def job_of(workshop: Workshop, job_id: str) -> Job:
    """The job's row as it is now."""
    with workshop.database.read() as session:
        return session.get_one(Job, job_id)


def require_three_attempts(workshop: Workshop, job_id: str, work: Work, code: str) -> None:
    """A job whose work meets what passes is queued twice again, and then ends with this code."""
    for attempt in (1, 2):
        run(workshop, job_id, work)
        job = job_of(workshop, job_id)
        assert (job.status, job.attempt, job.error_code) == (JobStatus.QUEUED, attempt, None)
    run(workshop, job_id, work)
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt, job.error_code) == (JobStatus.FAILED, 3, code)
