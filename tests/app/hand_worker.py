"""A worker played by hand: it does to the rows and blobs what a worker process does, through the same contract."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from sqlalchemy import delete, func, select, update

from app import base_choice, jobs
from app.storage import confidence_key, labels_key, model_key
from app.tables import Image, Job, Mask, PersonalModel, RegisteredBase, SegmentationItem
from tests.app.photos import mask_png

OWNER = "hand"
LABEL = 15


def register(api: FastAPI, *names: str) -> None:
    """What a worker writes when it comes up; the first is the default."""
    with api.state.wiring.database.write() as session:
        for index, name in enumerate(names):
            facts = {"title": name, "licence": "MIT", "scores": {}, "context": "trained", "weights_present": True, "classes": []}
            session.add(RegisteredBase(name=name, is_default=index == 0, **facts))


def claim(api: FastAPI, job_id: str, *, lease_seconds: float = 60) -> jobs.Lease:
    """Take the job, which must be there to be taken."""
    with api.state.wiring.database.write() as session:
        lease = jobs.claim(session, job_id, OWNER, lease_seconds)
    assert lease is not None
    return lease


def adapt(api: FastAPI, job_id: str, *, report: dict[str, Any] | None = None) -> int:
    """Do an adaptation; returns the version that it made."""
    report = report or {"verdict": "accepted"}
    lease = claim(api, job_id)
    with api.state.wiring.database.write() as session:
        job = session.get_one(Job, job_id)
        newest = session.scalar(select(func.max(PersonalModel.version)).where(PersonalModel.user_id == job.user_id))
        version = (newest or 0) + 1
        session.execute(update(PersonalModel).where(PersonalModel.user_id == job.user_id).values(active=False))
        key = model_key(job.user_id, version, "0" * 64)
        session.add(
            PersonalModel(
                user_id=job.user_id,
                version=version,
                base=job.base,
                job_id=job_id,
                blob_key=key,
                sha256="0" * 64,
                byte_size=4,
                report=report,
                active=True,
            )
        )
        jobs.succeed(session, lease, report=report, model_version=version)
    api.state.wiring.storage.put_bytes(key, b"data")
    return version


def refuse(api: FastAPI, job_id: str) -> None:
    """Do an adaptation whose guard keeps the base."""
    lease = claim(api, job_id)
    with api.state.wiring.database.write() as session:
        jobs.refuse(session, lease, code="class_collapse", reason="Everything became sky.", report={"verdict": "no"})


def segment(api: FastAPI, job_id: str, *, failing: str | None = None) -> None:
    """Do a segmentation: each mask is `LABEL` below one row of background; the photo `failing` fails."""
    lease = claim(api, job_id)
    wiring = api.state.wiring
    with wiring.database.write() as session:
        job = session.get_one(Job, job_id)
        wanted = job.request["model"]
        version = wanted if isinstance(wanted, int) else 0
        taken = base_choice.personal_for(session, job) if wanted == "personal" else None
        if taken is not None:
            version, job.base = taken.version, taken.base
        jobs.pin_model_version(session, lease, version, base=job.base)
        for item in session.scalars(select(SegmentationItem).where(SegmentationItem.job_id == job_id)):
            if item.image_id == failing:
                item.status, item.error_code, item.error_reason = "failed", "out_of_memory", "Too large for this machine."
                continue
            image = session.get_one(Image, item.image_id)
            labels = labels_key(job.user_id, image.id, job.base, version)
            confidence = confidence_key(job.user_id, image.id, job.base, version)
            wiring.storage.put_bytes(labels, mask_png(image.width, image.height, label=LABEL, background_rows=1))
            wiring.storage.put_bytes(confidence, mask_png(image.width, image.height, label=0))
            share = 1 / image.height
            session.execute(delete(Mask).where(Mask.image_id == image.id, Mask.model_version == version, Mask.base == job.base))
            session.add(
                Mask(
                    user_id=job.user_id,
                    image_id=image.id,
                    model_version=version,
                    base=job.base,
                    job_id=job_id,
                    labels_key=labels,
                    confidence_key=confidence,
                    classes=[
                        {"id": 0, "name": "background", "area_share": share, "mean_confidence": 0.9},
                        {"id": LABEL, "name": "person", "area_share": 1 - share, "mean_confidence": 0.8},
                    ],
                )
            )
            item.status = "done"
        jobs.succeed(session, lease)
