"""Which blobs of a user some row speaks of: all of a kind, and whether one is among them, which costs no more with more rows.

And whose turn it is to look.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Select, exists, or_, select, update
from sqlalchemy.orm import Session

from app.storage import checkpoint_key, photo_key
from app.tables import ACTIVE_STATUSES, Chore, Image, Job, JobKind, Mask, PersonalModel, User

# The rows are changed in the database only.
_DIRECT = {"synchronize_session": False}


def has_user(session: Session, user_id: str) -> bool | None:
    """Whether there is such a user, erased or not; None where there is no user at all."""
    # In one statement, so that both answers are of one moment: users may be coming or going as a whole.
    is_there, has_any = session.execute(select(exists().where(User.id == user_id), exists(select(User.id)))).one()
    return is_there if has_any else None


def has_photo(session: Session, user_id: str, sha256: str) -> bool:
    """Whether the user's gallery has a photo of these bytes."""
    return session.execute(select(Image.id).where(Image.user_id == user_id, Image.sha256 == sha256)).first() is not None


def photo_keys(session: Session, user_id: str) -> set[str]:
    """The blobs of the user's photos."""
    return {photo_key(user_id, sha256) for sha256 in session.scalars(select(Image.sha256).where(Image.user_id == user_id))}


def has_photo_key(session: Session, user_id: str, key: str) -> bool:
    """Whether this is one of `photo_keys`."""
    sha256 = key.rsplit("/", 1)[-1]
    return key == photo_key(user_id, sha256) and has_photo(session, user_id, sha256)


def model_keys(session: Session, user_id: str) -> set[str]:
    """The blobs of the user's personal models."""
    return set(session.scalars(select(PersonalModel.blob_key).where(PersonalModel.user_id == user_id)))


def has_model_key(session: Session, user_id: str, key: str) -> bool:
    """Whether this is one of `model_keys`."""
    found = select(PersonalModel.id).where(PersonalModel.user_id == user_id, PersonalModel.blob_key == key)
    return session.execute(found).first() is not None


def mask_keys(session: Session, user_id: str) -> set[str]:
    """The blobs of the user's masks."""
    rows = session.execute(select(Mask.labels_key, Mask.confidence_key).where(Mask.user_id == user_id))
    return {key for row in rows for key in row}


def has_mask_key(session: Session, user_id: str, key: str) -> bool:
    """Whether this is one of `mask_keys`; a mask's blobs lie below its photo (`masks_prefix`)."""
    of_photo = Mask.user_id == user_id, Mask.image_id == _owner_of(key)
    return session.execute(select(Mask.id).where(*of_photo, or_(Mask.labels_key == key, Mask.confidence_key == key))).first() is not None


def checkpoint_keys(session: Session, user_id: str) -> set[str]:
    """The checkpoints of the user's adaptations that have not ended."""
    going_on = session.execute(_going_on(user_id))
    return {key for job_id, last in going_on for key in _checkpoints(user_id, job_id, last)}


def has_checkpoint_key(session: Session, user_id: str, key: str) -> bool:
    """Whether this is one of `checkpoint_keys`."""
    going_on = session.execute(_going_on(user_id).where(Job.id == _owner_of(key)))
    return any(key in _checkpoints(user_id, job_id, last) for job_id, last in going_on)


def _going_on(user_id: str) -> Select[str, int]:
    return select(Job.id, Job.lease_token).where(Job.user_id == user_id, Job.kind == JobKind.ADAPTATION, Job.status.in_(ACTIVE_STATUSES))


def _checkpoints(user_id: str, job_id: str, last_token: int) -> set[str]:
    return {checkpoint_key(user_id, job_id, token) for token in range(1, last_token + 1)}


def _owner_of(key: str) -> str:
    """The photo or the job below whose id a blob lies: `users/{user_id}/{room}/{id}/…`."""
    return "".join(key.split("/")[3:4])


def take_turn(session: Session, chore: str, now: datetime, every: timedelta) -> bool:
    """Whether nobody has had this turn for so long; then it is the caller's. Raises IntegrityError where another takes the very first."""
    # A time in the future: the clock has been set back.
    is_due = or_(Chore.begun_at <= now - every, Chore.begun_at > now + every)
    mine = update(Chore).where(Chore.name == chore, is_due).values(begun_at=now).returning(Chore.name)
    if session.execute(mine, execution_options=_DIRECT).first() is not None:
        return True
    if session.execute(select(Chore.name).where(Chore.name == chore)).first() is not None:
        return False
    session.add(Chore(name=chore, begun_at=now))
    session.flush()
    return True


def give_turn_back(session: Session, chore: str, taken_at: datetime, every: timedelta) -> None:
    """Let another take the turn at once, unless one has since."""
    untouched = update(Chore).where(Chore.name == chore, Chore.begun_at == taken_at)
    session.execute(untouched.values(begun_at=taken_at - every), execution_options=_DIRECT)
