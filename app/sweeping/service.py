"""Looks through the blob store, one user at a time, for what no row speaks of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import structlog
from sqlalchemy.orm import Session

from app.db import Database
from app.storage import Storage, user_prefix
from app.sweeping import repository, turn
from app.sweeping.discarding import aside_prefix, discard, settle_rest

# A blob is written before its row: what is younger may belong to an upload or a job that goes on.
ORPHAN_SECONDS = 3600.0


@dataclass(frozen=True)
class Rows:
    """What the rows say of one kind of blob."""

    keys: Callable[[Session, str], set[str]]
    """All that they speak of: for the first look."""
    speak_of: Callable[[Session, str, str], bool]
    """Whether they speak of this one: for the look before each removal."""


# By the folder below `users/{id}/`; in another one nothing is removed.
ROOMS: dict[str, Rows] = {
    "photos": Rows(repository.photo_keys, repository.has_photo_key),
    "models": Rows(repository.model_keys, repository.has_model_key),
    "masks": Rows(repository.mask_keys, repository.has_mask_key),
    "checkpoints": Rows(repository.checkpoint_keys, repository.has_checkpoint_key),
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Swept:
    """What one round removed."""

    unfinished: int
    orphans: int
    strangers: int


def sweep_storage(
    database: Database, storage: Storage, *, unfinished_seconds: float = ORPHAN_SECONDS, orphan_seconds: float = ORPHAN_SECONDS
) -> Swept:
    """Remove half-written files and left checks, blobs without a row, and all of users who are no more; may run anywhere, at any time.

    Removes nothing while the database has no user at all and the store has some: then it is new, or is being restored.
    """
    orphans = strangers = 0
    for user_id in storage.folders("users"):
        is_known = _is_known(database, user_id)
        if is_known is None:
            log.error("storage.not_swept", reason="The store has blobs of users, the database has no user.")
            return Swept(0, orphans, strangers)
        if is_known:
            orphans += _sweep_user(database, storage, user_id, orphan_seconds)
        else:
            strangers += _sweep_stranger(database, storage, user_id, orphan_seconds)
    swept = Swept(storage.sweep_unfinished(unfinished_seconds), orphans, strangers)
    if swept != Swept(0, 0, 0):
        log.info("storage.swept", unfinished=swept.unfinished, orphans=orphans, strangers=strangers)
    return swept


def sweep_in_turn(database: Database, storage: Storage, *, every: timedelta, unfinished_seconds: float) -> None:
    """What every worker does now and then: half-written files always, `sweep_storage` where no process has begun with it for so long."""
    with turn.taken(database, every) as is_ours:
        if is_ours:
            sweep_storage(database, storage, unfinished_seconds=unfinished_seconds)
        else:
            _sweep_unfinished(database, storage, unfinished_seconds)


def _sweep_unfinished(database: Database, storage: Storage, older_than_seconds: float) -> None:
    if _is_known(database, "") is None:
        return  # as `sweep_storage`, without a look at the store
    if removed := storage.sweep_unfinished(older_than_seconds):
        log.info("storage.swept", unfinished=removed)


def _is_known(database: Database, user_id: str) -> bool | None:
    with database.read() as session:
        return repository.has_user(session, user_id)


def _sweep_stranger(database: Database, storage: Storage, user_id: str, older_than_seconds: float) -> int:
    """As for single blobs, by age and with a second look: while a database is being restored, its users are strangers."""

    def is_wanted(_key: str = "") -> bool:
        return _is_known(database, user_id) is not False

    removed = 0
    for key in storage.keys(user_prefix(user_id)):
        if not _is_old(storage, key, older_than_seconds):
            continue
        is_aside = key.startswith(f"{aside_prefix(user_id)}/")
        if not (settle_rest(storage, user_id, key, is_wanted) if is_aside else discard(storage, user_id, key, is_wanted)):
            return removed  # the user has come back, or another process is at it
        removed += 1
    if not storage.keys(user_prefix(user_id)) and not is_wanted():
        storage.delete_prefix(user_prefix(user_id))  # the empty folders
    return removed


def _sweep_user(database: Database, storage: Storage, user_id: str, older_than_seconds: float) -> int:
    # Blobs first, rows second: whatever was stored between the two has its row already.
    found = _by_folder(user_id, storage.keys(user_prefix(user_id)))
    removed = 0
    for room in ROOMS:
        removed += _sweep_room(database, storage, user_id, room, found.get(f"{user_prefix(user_id)}/{room}", ()), older_than_seconds)
    is_wanted = partial(_is_wanted, database, user_id)
    for aside in found.get(aside_prefix(user_id), ()):
        if _is_old(storage, aside, older_than_seconds):
            removed += settle_rest(storage, user_id, aside, is_wanted)
    return removed


def _by_folder(user_id: str, keys: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """The keys by the folder directly below the user's that each lies in."""
    folders = defaultdict(list)
    for key in keys:
        name = key.removeprefix(f"{user_prefix(user_id)}/").split("/", 1)[0]
        folders[f"{user_prefix(user_id)}/{name}"].append(key)
    return folders


def _sweep_room(database: Database, storage: Storage, user_id: str, room: str, found: Sequence[str], older_than_seconds: float) -> int:
    if not found:
        return 0
    with database.read() as session:
        orphans = set(found) - ROOMS[room].keys(session, user_id)
    old = [key for key in sorted(orphans) if _is_old(storage, key, older_than_seconds)]
    return sum(discard(storage, user_id, key, partial(_is_wanted, database, user_id, key)) for key in old)


def _is_wanted(database: Database, user_id: str, key: str) -> bool:
    """Whether a row speaks of the blob now. A user who is not there any more is the next round's: the rows may be gone because all are."""
    room = key.removeprefix(f"{user_prefix(user_id)}/").split("/", 1)[0]
    with database.read() as session:
        is_spoken_of = room in ROOMS and ROOMS[room].speak_of(session, user_id, key)
    # Asked last: a user who goes between the two looks is seen to be gone.
    return is_spoken_of or not _is_known(database, user_id)


def _is_old(storage: Storage, key: str, older_than_seconds: float) -> bool:
    age = storage.age_seconds(key)
    return age is not None and age >= older_than_seconds
