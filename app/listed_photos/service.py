"""How many photos a user's segmentations list: the oldest that have ended give way, down to their counts.

A request of a few bytes (`"image_ids": "all"`) makes a row per photo, and jobs stay for ever; their lists need not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import accumulate

from sqlalchemy import Row

from app.clock import utc_now
from app.db import Database
from app.errors import TooManyRequests
from app.listed_photos import repository
from app.listed_photos.repository import COUNTS_KEPT
from app.settings import Settings
from app.tables import ACTIVE_STATUSES, ItemStatus, Job, JobKind

_COME_BACK_SECONDS = 60
# The write lock is held for no more than these: so many segmentations, so many photos and those of one more.
_JOBS_AT_ONCE = 200
_PHOTOS_AT_ONCE = 10_000
_LOOKED_AT = 100
# Beyond what is wanted, this part of the bound is freed, so that not every further request has to.
_IN_ADVANCE = 20


class NoRoom(Exception):
    """So many more photos cannot be listed as things are; `make_room` may help."""

    def __init__(self, wanted: int) -> None:
        super().__init__(wanted)
        self.wanted = wanted


def listed(database: Database, user_id: str) -> int:
    """How many photos the user's segmentations list."""
    with database.read() as session:
        return repository.listed(session, user_id)


def require_room(settings: Settings, listed: int, wanted: int) -> None:
    """Raise NoRoom where so many photos are listed that `wanted` more are too many."""
    if listed + wanted > settings.max_listed_photos:
        raise NoRoom(wanted)


def make_room(database: Database, settings: Settings, user_id: str, wanted: int) -> None:
    """Shorten the user's oldest ended segmentations until `wanted` more photos may be listed, and some beyond, in transactions of its own.

    Raises TooManyRequests where those that have not ended leave too little room.
    """
    most = settings.max_listed_photos
    with database.read() as session:
        to_free = repository.listed(session, user_id) + wanted - most
        of_unfinished = repository.listed(session, user_id, statuses=ACTIVE_STATUSES)
    if of_unfinished + wanted > most:
        together = f"This user's segmentations that have not ended may list {most} photos together."
        detail = f"{together} Wait until some have ended, or cancel some."
        raise TooManyRequests("too_many_unfinished", detail, retry_after_seconds=_COME_BACK_SECONDS)
    to_free += most // _IN_ADVANCE
    after = ""
    while to_free > 0:
        with database.read() as session:
            found = repository.ended_and_listed(session, user_id, after=after, limit=_JOBS_AT_ONCE)
        if not found:
            return
        giving_way = _first_of(found, min(to_free, _PHOTOS_AT_ONCE))
        with database.write() as session:
            repository.shorten(session, user_id, [job_id for job_id, _photos in giving_way])
        to_free -= sum(photos for _job_id, photos in giving_way)
        after = giving_way[-1][0]


def _first_of(found: Sequence[Row[str, int]], photos: int) -> Sequence[Row[str, int]]:
    """As many of the first as it takes to list so many photos."""
    together = list(accumulate(of_job for _job_id, of_job in found))
    return found[: bisect_left(together, photos) + 1]


def shorten_old(database: Database, settings: Settings) -> int:
    """Shorten the segmentations that ended long ago, of all users; returns how many."""
    before = utc_now() - timedelta(days=settings.listed_photos_keep_days)
    shortened, after = 0, ""
    while True:
        with database.read() as session:  # idle workers take no write lock
            looked_at = repository.listing_since(session, before, after=after, limit=_LOOKED_AT)
            ended = repository.ended_before(session, looked_at, before)
        if not looked_at:
            return shortened
        for user_id, job_id in ended:
            with database.write() as session:
                repository.shorten(session, user_id, [job_id])
        shortened += len(ended)
        after = looked_at[-1]


def counts_of(job: Job, listed: Mapping[str, int]) -> dict[str, int]:
    """How many photos of the segmentation stand where, also when it lists them no more."""
    counts = listed or (job.report or {}).get(COUNTS_KEPT, {})
    return {status.value: counts.get(status, 0) for status in ItemStatus}


def is_shortened(job: Job) -> bool:
    """Whether the segmentation listed photos once and does no more."""
    return job.kind == JobKind.SEGMENTATION and COUNTS_KEPT in (job.report or {})
