"""How many photos a user's segmentations list: the oldest that have ended give way, down to their counts.

A request of a few bytes (`"image_ids": "all"`) makes a row per photo, and jobs stay for ever; their lists need not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.db import Database
from app.errors import TooManyRequests
from app.listed_photos import repository
from app.listed_photos.repository import COUNTS_KEPT
from app.settings import Settings
from app.tables import ItemStatus, Job, JobKind

_COME_BACK_SECONDS = 60
# The write lock is held for no more jobs than these.
_AT_ONCE = 10


def make_room(session: Session, settings: Settings, user_id: str, wanted: int) -> None:
    """Shorten the user's oldest ended segmentations until `wanted` more photos may be listed.

    Raises TooManyRequests where those that have not ended leave too little room.
    """
    most = settings.max_listed_photos
    too_many = repository.listed(session, user_id) + wanted - most
    if too_many <= 0:
        return
    giving_way: list[str] = []
    for job_id, photos in repository.ended_and_listed(session, user_id):
        giving_way.append(job_id)
        too_many -= photos
        if too_many <= 0:
            repository.shorten(session, user_id, giving_way)
            return
    detail = f"This user's segmentations that have not ended may list {most} photos together. Wait until some have ended, or cancel some."
    raise TooManyRequests("too_many_unfinished", detail, retry_after_seconds=_COME_BACK_SECONDS)


def shorten_old(database: Database, settings: Settings) -> int:
    """Shorten the segmentations that ended long ago, of all users; returns how many."""
    before = utc_now() - timedelta(days=settings.listed_photos_keep_days)
    shortened = 0
    while found := _ended_long_ago(database, before):
        with database.write() as session:
            for user_id, job_id in found:
                repository.shorten(session, user_id, [job_id])
        shortened += len(found)
    return shortened


def _ended_long_ago(database: Database, before: datetime) -> Sequence[Row[str, str]]:
    with database.read() as session:  # idle workers take no write lock
        return repository.ended_long_ago(session, before, _AT_ONCE)


def counts_of(job: Job, listed: Mapping[str, int]) -> dict[str, int]:
    """How many photos of the segmentation stand where, also when it lists them no more."""
    counts = listed or (job.report or {}).get(COUNTS_KEPT, {})
    return {status.value: counts.get(status, 0) for status in ItemStatus}


def is_shortened(job: Job) -> bool:
    """Whether the segmentation listed photos once and does no more."""
    return job.kind == JobKind.SEGMENTATION and COUNTS_KEPT in (job.report or {})
