"""One adaptation job: rows → personalise → one model file → one transaction."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from app import jobs
from app.db import once
from app.storage import model_key
from app.tables import Image, Job, JobKind, PersonalModel
from models import Personalization, PersonalizeConfig, learned_side, personalize, save_personal
from models.types import Cancelled, Progress
from workers.bases import base_for
from workers.checkpoints import JobCheckpoints
from workers.erasure import writing_for
from workers.failures import GalleryVanished
from workers.gallery import Gallery, Photo, Vanished, photos_named, photos_of
from workers.lease import HeldJob
from workers.workshop import Workshop

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class AdaptationPlan:
    """What the rows say at the start of the job."""

    user_id: str
    base: str
    config: PersonalizeConfig
    photos: list[Photo]


@dataclass(frozen=True)
class StoredFile:
    """A model file in the blob store that no row speaks of yet."""

    version: int
    blob_key: str
    sha256: str
    byte_size: int


def adapt_gallery(workshop: Workshop, held: HeldJob) -> None:
    """Do the job and close its row. Raises Cancelled, LeaseLost, and whatever goes wrong."""
    checkpoints = JobCheckpoints(workshop, held)
    held.report("loading" if checkpoints.photo_ids is None else "resuming", 0, 1, 0.0)
    plan = _plan(workshop, held)
    base = base_for(workshop, held, plan.base)
    photos = photos_named(plan.photos, checkpoints.photo_ids or [photo.image_id for photo in plan.photos])
    result = personalize(
        base,
        Gallery(workshop.storage, photos, workshop.decoder, learned_side(base, plan.config)),
        plan.config,
        source=workshop.source,
        on_progress=_reporter(held, plan.config.budget_seconds),
        should_stop=held.should_stop,
        checkpoints=checkpoints,
    )
    result.report.update(_photos_until(workshop, plan.user_id, photos))
    if "checkpoint" in result.report:
        log.info("adaptation.resumed", **result.report["checkpoint"])
    if held.should_stop():
        raise Cancelled
    if result.model is None or not result.verdict.accepted:
        _save_refusal(held, plan, result)
        return
    _require_a_photo(workshop, plan.user_id)
    data = save_personal(result.model)
    stored = _take_version(held, plan, data)
    with writing_for(workshop, plan.user_id, stored.blob_key):
        workshop.storage.put_bytes(stored.blob_key, data)
        _save_success(held, plan, result, stored)


def _plan(workshop: Workshop, held: HeldJob) -> AdaptationPlan:
    with workshop.database.read() as session:
        job = session.get_one(Job, held.job_id)
        photos = photos_of(session, job.user_id)
        config = PersonalizeConfig(
            budget_seconds=float(job.request.get("budget_seconds", workshop.settings.adaptation_budget_seconds)),
            seed=int(job.request.get("seed", 0)),
        )
        if not photos:
            raise GalleryVanished
        return AdaptationPlan(job.user_id, job.base, config, photos)


def _require_a_photo(workshop: Workshop, user_id: str) -> None:
    """Whoever has deleted every photo meanwhile wants no model of them; raises GalleryVanished."""
    with workshop.database.read() as session:
        if session.execute(select(Image.id).where(Image.user_id == user_id).limit(1)).first() is None:
            raise GalleryVanished


def _photos_until(workshop: Workshop, user_id: str, photos: Sequence[Photo | Vanished]) -> dict[str, str]:
    """For `app.freshness`, which compares it with other photos: a time of the API's clock, of which this worker's may be seconds apart."""
    seen = select(func.max(Image.created_at)).where(Image.user_id == user_id, Image.id <= max(photo.image_id for photo in photos))
    with workshop.database.read() as session:
        newest = session.execute(seen).scalar_one()
    return {} if newest is None else {"photos_until": newest.isoformat()}


def _reporter(held: HeldJob, budget_seconds: float) -> Callable[[Progress], None]:
    heard: list[Progress] = []

    def report(progress: Progress) -> None:
        if not heard:  # what came before was loading, or an earlier attempt's
            heard.append(progress)
            held.measure_from(progress.fraction, budget_seconds)
        held.report(progress.stage, progress.step, progress.steps, progress.fraction)

    return report


def _take_version(held: HeldJob, plan: AdaptationPlan, data: bytes) -> StoredFile:
    """Where the file of the model will be: its version is pinned under the lease first, so that no two jobs can take the same one."""

    def pin(session: Session) -> int:
        version = _version_for(session, held.job_id, plan.user_id)
        jobs.pin_model_version(session, held.lease, version)
        return version

    version = held.write(pin)
    sha256 = hashlib.sha256(data).hexdigest()
    return StoredFile(version, model_key(plan.user_id, version, sha256), sha256, len(data))


def _version_for(session: Session, job_id: str, user_id: str) -> int:
    pinned = session.execute(select(Job.model_version).where(Job.id == job_id)).scalar_one_or_none()
    if pinned is not None:
        # An earlier attempt died between pinning and closing; the number is still ours.
        return pinned
    made = select(func.max(PersonalModel.version)).where(PersonalModel.user_id == user_id)
    used = select(func.max(Job.model_version)).where(Job.user_id == user_id, Job.kind == JobKind.ADAPTATION)
    return 1 + max(session.execute(made).scalar() or 0, session.execute(used).scalar() or 0)


def _save_success(held: HeldJob, plan: AdaptationPlan, result: Personalization, stored: StoredFile) -> None:
    def save(session: Session) -> None:
        # First the lease: the row of a job that somebody else has closed must not bring a second model.
        jobs.succeed(session, held.lease, report=result.report, model_version=stored.version)
        session.execute(update(PersonalModel).where(PersonalModel.user_id == plan.user_id, PersonalModel.active).values(active=False))
        session.add(
            PersonalModel(
                user_id=plan.user_id,
                version=stored.version,
                base=plan.base,
                job_id=held.job_id,
                blob_key=stored.blob_key,
                sha256=stored.sha256,
                byte_size=stored.byte_size,
                report=result.report,
                active=True,
            )
        )
        _save_groups(session, plan.user_id, result.groups)

    once(lambda: held.write(save))  # another version may be put in use at the same moment
    log.info("adaptation.accepted", version=stored.version, byte_size=stored.byte_size)


def _save_refusal(held: HeldJob, plan: AdaptationPlan, result: Personalization) -> None:
    verdict = result.verdict

    def save(session: Session) -> None:
        jobs.refuse(session, held.lease, code=verdict.code, reason=verdict.sentence, report=result.report)
        _save_groups(session, plan.user_id, result.groups)

    held.write(save)
    log.info("adaptation.refused", code=verdict.code)


def _save_groups(session: Session, user_id: str, groups: dict[str, int]) -> None:
    # One statement for all of them, of the table: SQLite's one writer is not kept waiting. A photo that is gone is no error.
    statement = update(Image).where(Image.id == bindparam("image"), Image.user_id == user_id).values(group_index=bindparam("group"))
    if groups:
        session.connection().execute(statement, [{"image": image_id, "group": int(group)} for image_id, group in sorted(groups.items())])
