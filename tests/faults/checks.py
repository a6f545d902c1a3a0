"""What must hold after every fault, read from the database, its audit and the blob store: not from what the API says."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from PIL import Image as Pillow
from sqlalchemy import select

from app.db import Database
from app.jobs import ENDED_STATUSES
from app.storage import Storage, photo_key
from app.tables import Image, ItemStatus, Job, JobKind, JobStatus, Mask, PersonalModel, SegmentationItem
from tests.faults.audit import changes_of

ENDS = {status.value for status in ENDED_STATUSES}


@dataclass
class Findings:
    """Sentences about what is wrong; empty lists are what is hoped for."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    half_written: list[str] = field(default_factory=list)
    without_reason: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        return [*self.lost, *self.doubled, *self.half_written, *self.without_reason]


def examine(database: Database, storage: Storage, accepted: Collection[str], expected_codes: Collection[str] = ()) -> Findings:
    """Look at every accepted job and at every row that speaks of a blob. `expected_codes`: with these a job may have failed."""
    findings = Findings()
    with database.read() as session:
        jobs = {job.id: job for job in session.scalars(select(Job))}
        models = list(session.scalars(select(PersonalModel)))
        masks = list(session.scalars(select(Mask)))
        images = {image.id: image for image in session.scalars(select(Image))}
        items = list(session.scalars(select(SegmentationItem)))
    for job_id in accepted:
        _examine_job(findings, database, jobs.get(job_id), job_id, expected_codes)
    _examine_models(findings, storage, jobs, models)
    findings.half_written += [
        f"photo {image.id}" for image in images.values() if not _is_whole(storage, photo_key(image.user_id, image.sha256), image.sha256)
    ]
    findings.half_written += [f"mask {mask.id}: {what}" for mask in masks for what in _torn_mask(storage, mask, images[mask.image_id])]
    findings.half_written += _items_without_mask(jobs, items, masks)
    return findings


def _examine_job(findings: Findings, database: Database, job: Job | None, job_id: str, expected_codes: Collection[str]) -> None:
    if job is None or job.status not in ENDS:
        findings.lost.append(f"job {job_id} is {'gone' if job is None else job.status}")
        return
    ends = [new for _old, new, _attempt in changes_of(database, job_id) if new in ENDS]
    after_end = [new for old, new, _attempt in changes_of(database, job_id) if old in ENDS]
    if len(ends) != 1 or after_end:
        findings.doubled.append(f"job {job_id} ended {ends}, and then {after_end}")
    if job.status in (JobStatus.FAILED, JobStatus.REFUSED) and not (job.error_code and job.error_reason):
        findings.without_reason.append(f"job {job_id} {job.status}")
    if job.finished_at is None or job.lease_owner is not None:
        findings.half_written.append(f"job {job_id} {job.status}: finished {job.finished_at}, lease of {job.lease_owner}")
    if job.status == JobStatus.FAILED and job.error_code not in expected_codes:
        findings.lost.append(f"job {job_id} failed: {job.error_code}, attempt {job.attempt}: {job.error_reason}")


def _examine_models(findings: Findings, storage: Storage, jobs: dict[str, Job], models: list[PersonalModel]) -> None:
    of_job = Counter(model.job_id for model in models)
    for job in jobs.values():
        if job.kind == JobKind.ADAPTATION and job.status in ENDS:
            wanted = int(job.status == JobStatus.SUCCEEDED)
            if of_job[job.id] > wanted:
                findings.doubled.append(f"adaptation {job.id} {job.status} has {of_job[job.id]} models")
            if of_job[job.id] < wanted:
                findings.half_written.append(f"adaptation {job.id} succeeded without a model")
    findings.half_written += [f"model {model.id}" for model in models if not _is_whole(storage, model.blob_key, model.sha256)]
    active = Counter(model.user_id for model in models if model.active)
    findings.doubled += [f"user {user_id} has {count} active models" for user_id, count in active.items() if count > 1]


def _is_whole(storage: Storage, key: str, sha256: str) -> bool:
    return storage.exists(key) and hashlib.sha256(storage.get_bytes(key)).hexdigest() == sha256


def _torn_mask(storage: Storage, mask: Mask, image: Image) -> Iterator[str]:
    for key in (mask.labels_key, mask.confidence_key):
        if not storage.exists(key):
            yield f"{key} is missing"
            continue
        try:
            with Pillow.open(io.BytesIO(storage.get_bytes(key))) as png:
                png.load()
                if png.size != (image.width, image.height):
                    yield f"{key} has the size {png.size}"
        except OSError as error:
            yield f"{key}: {error}"


def _items_without_mask(jobs: dict[str, Job], items: list[SegmentationItem], masks: list[Mask]) -> Iterator[str]:
    made = {(mask.image_id, mask.base, mask.model_version) for mask in masks}
    for item in items:
        job = jobs[item.job_id]
        if item.status == ItemStatus.DONE and (item.image_id, job.base, job.model_version) not in made:
            yield f"photo {item.image_id} of job {job.id} is done without a mask"
        if item.status == ItemStatus.PENDING and job.status == JobStatus.SUCCEEDED:
            yield f"photo {item.image_id} of the succeeded job {job.id} was never done"
