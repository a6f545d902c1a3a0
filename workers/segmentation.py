"""One segmentation job: photo by photo, each saved as soon as it is done.

Photos that an earlier attempt has done are not done again, and a mask that this very model has made before is reused.
A long job gives way after its turn where others wait, and goes on from there when it is its turn again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import structlog
import torch
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app import base_choice, jobs
from app.decoding.signatures import is_whole_png
from app.errors import BlobNotFound, LeaseLost
from app.storage import confidence_key, labels_key, photo_key
from app.tables import Image, ItemStatus, Job, Mask, PersonalModel, SegmentationItem
from models import Base, load_personal, segment
from models import PersonalModel as LoadedModel
from models.types import Cancelled, ModelFileError
from workers.bases import base_for
from workers.cache import ModelKey
from workers.codec import class_summary, encode_confidence, encode_labels
from workers.erasure import writing_for
from workers.failures import Failure, GalleryVanished, UnknownModelVersion, describe, is_device_lost, log_failure
from workers.gallery import Photo, read_photo
from workers.lease import HeldJob
from workers.patience import await_store, is_store_away
from workers.workshop import Workshop

BASE_VERSION = 0
_STAGE = "segmenting"
# So often a photo is tried while the store answers and yet does not give or take a blob of it.
_TRIES_OF_A_PHOTO = 3

Step = ParamSpec("Step")
Result = TypeVar("Result")

log = structlog.get_logger(__name__)


class TurnIsOver(Exception):
    """Others wait for this worker, and this job has had its turn; the photos done so far are saved."""


@dataclass(frozen=True)
class StoredModel:
    """A version of a personal model, as its row tells it."""

    version: int
    base: str
    blob_key: str
    sha256: str

    @classmethod
    def of(cls, row: PersonalModel) -> StoredModel:
        """From its row."""
        return cls(row.version, row.base, row.blob_key, row.sha256)


@dataclass(frozen=True)
class SegmentationPlan:
    """What the rows say at the start of the job; `model` is None for the base itself."""

    user_id: str
    base: str
    model: StoredModel | None
    pending: list[Photo]
    photo_count: int

    @property
    def version(self) -> int:
        """The version that the masks are filed under."""
        return BASE_VERSION if self.model is None else self.model.version


def segment_photos(workshop: Workshop, held: HeldJob) -> None:
    """Do the job and close its row. Raises Cancelled, LeaseLost, and whatever spoils the whole job."""
    with workshop.database.write() as session:
        plan = _plan(session, held.job_id)
        jobs.pin_model_version(session, held.lease, plan.version, base=plan.base)
    already_done = plan.photo_count - len(plan.pending)
    held.report("loading", already_done, plan.photo_count, already_done / max(1, plan.photo_count))
    base = base_for(workshop, held, plan.base)
    personal = None if plan.model is None else _load_model(workshop, plan, plan.model, base)
    for position, photo in enumerate(plan.pending, start=already_done):
        if held.should_stop():
            raise Cancelled
        held.report(_STAGE, position, plan.photo_count, position / plan.photo_count)
        _segment_one(workshop, held, plan, photo, base, personal)
        is_last = position == plan.photo_count - 1
        if not is_last and held.turn_is_over(workshop.settings.segmentation_turn_seconds):
            raise TurnIsOver
    _close(held, plan)


def _plan(session: Session, job_id: str) -> SegmentationPlan:
    job = session.get_one(Job, job_id)
    items = (
        select(Image.id, Image.sha256, SegmentationItem.status)
        .join(SegmentationItem, SegmentationItem.image_id == Image.id)
        .where(SegmentationItem.job_id == job_id, Image.user_id == job.user_id)
        .order_by(SegmentationItem.position)
    )
    rows = session.execute(items).all()
    pending = [Photo(image, photo_key(job.user_id, sha)) for image, sha, status in rows if status == ItemStatus.PENDING]
    model = _choose_model(session, job)
    return SegmentationPlan(job.user_id, job.base if model is None else model.base, model, pending, len(rows))


def _choose_model(session: Session, job: Job) -> StoredModel | None:
    """The model that an earlier attempt pinned, else the one that the request asks for; None is the base."""
    wanted = base_choice.wanted_model(job)
    if wanted in ("base", BASE_VERSION):
        return None
    if wanted == "personal":
        row = base_choice.personal_for(session, job)
        return None if row is None else StoredModel.of(row)
    of_version = select(PersonalModel).where(PersonalModel.user_id == job.user_id, PersonalModel.version == int(wanted))
    row = session.execute(of_version.where(PersonalModel.base == job.base)).scalar_one_or_none()
    if row is None:
        raise UnknownModelVersion(int(wanted), job.base)
    return StoredModel.of(row)


def _load_model(workshop: Workshop, plan: SegmentationPlan, stored: StoredModel, base: Base) -> LoadedModel:
    def load() -> tuple[LoadedModel, int]:
        try:
            data = workshop.storage.get_bytes(stored.blob_key)
        except BlobNotFound as error:
            raise ModelFileError(f"the file of version {stored.version} is no longer there") from error
        if hashlib.sha256(data).hexdigest() != stored.sha256:
            raise ModelFileError(f"the file of version {stored.version} is not the one that was stored")
        model = load_personal(data, base)
        return model, len(data) + _tensor_bytes(model.segmenter)

    return workshop.models.get(ModelKey(plan.user_id, stored.version, stored.sha256), load)


def _tensor_bytes(module: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def _segment_one(workshop: Workshop, held: HeldJob, plan: SegmentationPlan, photo: Photo, base: Base, personal: LoadedModel | None) -> None:
    """The photo's mask, or why it has none. A blob store that is away is waited for; raises its OSError where it stays away."""
    for tries in range(1, _TRIES_OF_A_PHOTO + 1):
        try:
            _try_one(workshop, held, plan, photo, base, personal)
            return
        except OSError as error:
            if not is_store_away(error) or not await_store(workshop, held):
                raise
            if tries == _TRIES_OF_A_PHOTO:  # everything else of the store is there
                _fail_one(workshop, held, photo, error)


def _try_one(workshop: Workshop, held: HeldJob, plan: SegmentationPlan, photo: Photo, base: Base, personal: LoadedModel | None) -> None:
    if _reuse_mask(workshop, held, plan, photo, base):
        workshop.metrics.count_image("reused")
        return
    with writing_for(workshop, plan.user_id, *_keys(plan, photo)):
        _make_one(workshop, held, plan, photo, base, personal)


def _make_one(workshop: Workshop, held: HeldJob, plan: SegmentationPlan, photo: Photo, base: Base, personal: LoadedModel | None) -> None:
    try:
        mask = _make_mask(workshop, held, plan, photo, base, personal)
    except (Cancelled, LeaseLost):
        raise
    except Exception as error:
        if is_store_away(error) or is_device_lost(error):
            raise
        # One bad photo is its own failure; the others of the job go on.
        _fail_one(workshop, held, photo, error)
        return
    _save_mask(workshop, held, plan, photo, mask)
    workshop.metrics.count_image("segmented")


def _fail_one(workshop: Workshop, held: HeldJob, photo: Photo, error: Exception) -> None:
    failure = log_failure("photo.failed", error, image_id=photo.image_id)
    with workshop.database.write() as session:
        _close_item(session, held, photo, failure)
    workshop.metrics.count_image("failed", failure.code)


def _reuse_mask(workshop: Workshop, held: HeldJob, plan: SegmentationPlan, photo: Photo, base: Base) -> bool:
    same = select(Mask.labels_key, Mask.confidence_key).where(
        Mask.user_id == plan.user_id,
        Mask.image_id == photo.image_id,
        Mask.model_version == plan.version,
        Mask.base == plan.base,
        # A base that its user has trained anew, or a new release's, has other weights under the same name.
        or_(Mask.base_sha256.is_(None), Mask.base_sha256 == base.info.sha256),
    )
    with workshop.database.read() as session:
        keys = session.execute(same).one_or_none()
    # After a restore, say, a row can be without its files: then the mask is made anew.
    if keys is None or not all(_is_whole(workshop, key) for key in keys):
        return False
    held.write(lambda session: _close_done(session, held, plan, photo))
    return True


def _is_whole(workshop: Workshop, key: str) -> bool:
    try:
        return is_whole_png(workshop.storage.get_bytes(key))
    except BlobNotFound:
        return False


def _make_mask(workshop: Workshop, held: HeldJob, plan: SegmentationPlan, photo: Photo, base: Base, personal: LoadedModel | None) -> Mask:
    """Segment one photo and store its two blobs; the row is not saved yet.

    Asks between its steps whether to stop: with a photo of a hundred megapixels each of them takes seconds.
    """
    pixels = read_photo(workshop.storage, photo, workshop.decoder)
    result = segment(base, pixels, personal, should_stop=held.should_stop)
    label_bytes = _unless_stopped(held, encode_labels, result.labels, base.info.palette)
    confidence_bytes = _unless_stopped(held, encode_confidence, result.confidence)
    classes = _unless_stopped(held, class_summary, result.labels, result.confidence, base.info.class_names)
    labels, confidence = _keys(plan, photo)
    workshop.storage.put_bytes(labels, label_bytes)
    workshop.storage.put_bytes(confidence, confidence_bytes)
    return Mask(
        user_id=plan.user_id,
        image_id=photo.image_id,
        model_version=plan.version,
        base=plan.base,
        base_sha256=base.info.sha256,
        job_id=held.job_id,
        labels_key=labels,
        confidence_key=confidence,
        classes=classes,
    )


def _keys(plan: SegmentationPlan, photo: Photo) -> tuple[str, str]:
    """Where the two blobs of a mask are: its labels and their confidence."""
    of_mask = plan.user_id, photo.image_id, plan.base, plan.version
    return labels_key(*of_mask), confidence_key(*of_mask)


def _unless_stopped(held: HeldJob, step: Callable[Step, Result], *arguments: Step.args, **options: Step.kwargs) -> Result:
    if held.should_stop():
        raise Cancelled
    return step(*arguments, **options)


def _save_mask(workshop: Workshop, held: HeldJob, plan: SegmentationPlan, photo: Photo, mask: Mask) -> None:
    try:
        held.write(lambda session: _insert_mask(session, held, plan, photo, mask))
    except UnknownModelVersion:
        log.info("model.dropped_meanwhile", version=plan.version)
        _remove_blobs(workshop, mask)
        raise
    except IntegrityError:
        with workshop.database.read() as session:
            photo_is_there = session.get(Image, photo.image_id) is not None
        if photo_is_there:
            # Another job of this user has made the same mask at the same moment: its row speaks of these very blobs.
            held.write(lambda session: _close_done(session, held, plan, photo))
            return
        # The photo was deleted while it was segmented: its item went with it, and its mask must go too.
        log.info("photo.deleted_meanwhile", image_id=photo.image_id)
        _remove_blobs(workshop, mask)


def _remove_blobs(workshop: Workshop, mask: Mask) -> None:
    workshop.storage.delete_all((mask.labels_key, mask.confidence_key))


def _insert_mask(session: Session, held: HeldJob, plan: SegmentationPlan, photo: Photo, mask: Mask) -> None:
    # The photo first: whoever deletes it locks it before the items and masks that go with it.
    session.execute(select(Image.id).where(Image.id == photo.image_id).with_for_update(read=True, key_share=True))
    _close_done(session, held, plan, photo)
    # Another job of this user can have made the same mask meanwhile; the blobs are under the same keys.
    session.execute(
        delete(Mask).where(
            Mask.user_id == mask.user_id,
            Mask.image_id == mask.image_id,
            Mask.model_version == mask.model_version,
            Mask.base == mask.base,
        )
    )
    session.add(mask)


def _close_done(session: Session, held: HeldJob, plan: SegmentationPlan, photo: Photo) -> None:
    """Close the item of a photo that has its mask; raises UnknownModelVersion where the model was dropped meanwhile, with its masks."""
    _close_item(session, held, photo, None)
    if plan.model is None:
        return
    # Locked: whoever drops the version waits for this transaction, and then finds its mask.
    still_there = select(PersonalModel.id).where(PersonalModel.user_id == plan.user_id, PersonalModel.version == plan.version)
    if session.execute(still_there.with_for_update(read=True)).scalar_one_or_none() is None:
        raise UnknownModelVersion(plan.version, plan.base)


def _close_item(session: Session, held: HeldJob, photo: Photo, failure: Failure | None) -> None:
    """Write the photo's end in a transaction that also holds the lease; raises LeaseLost."""
    if not jobs.heartbeat(session, held.lease).alive:
        raise LeaseLost(held.job_id)
    session.execute(
        update(SegmentationItem)
        .where(SegmentationItem.job_id == held.job_id, SegmentationItem.image_id == photo.image_id)
        .values(
            status=ItemStatus.DONE if failure is None else ItemStatus.FAILED,
            error_code=None if failure is None else failure.code,
            error_reason=None if failure is None else failure.reason,
        )
    )


def _close(held: HeldJob, plan: SegmentationPlan) -> None:
    """Succeeded when any photo has its mask; failed, with the first photo's reason, when none has, and when none is there any more."""

    def close(session: Session) -> None:
        counts = _count_items(session, held.job_id)
        report = {"photos": sum(counts.values()), **counts, "model_version": plan.version}
        if not report["photos"]:
            gone = describe(GalleryVanished())
            jobs.fail(session, held.lease, code=gone.code, reason=gone.reason, report=report)
            return
        if counts["done"] or not counts["failed"]:
            jobs.succeed(session, held.lease, report=report)
            return
        first = _first_failure(session, held.job_id)
        jobs.fail(session, held.lease, code=first.code, reason=first.reason, report=report)

    held.write(close)


def _count_items(session: Session, job_id: str) -> dict[str, int]:
    statement = select(SegmentationItem.status, func.count()).where(SegmentationItem.job_id == job_id).group_by(SegmentationItem.status)
    counted = dict(session.execute(statement).all())
    return {"done": counted.get(ItemStatus.DONE, 0), "failed": counted.get(ItemStatus.FAILED, 0)}


def _first_failure(session: Session, job_id: str) -> Failure:
    statement = (
        select(SegmentationItem.error_code, SegmentationItem.error_reason)
        .where(SegmentationItem.job_id == job_id, SegmentationItem.status == ItemStatus.FAILED)
        .order_by(SegmentationItem.position)
        .limit(1)
    )
    code, reason = session.execute(statement).one()
    return Failure(code or "internal_error", reason or "The photo could not be segmented.")
