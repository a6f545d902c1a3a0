"""Which base model an adaptation goes to where nobody names one, and which model a segmentation takes. Shared by API and workers."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.tables import Job, PersonalModel, RegisteredBase


def kept_base(session: Session, user_id: str) -> str | None:
    """The base that was named when the model in use was asked for, as long as workers have it; else None: the default.

    Who took the default once takes it again, also after the operator has set another; who has chosen a base keeps it.
    """
    made = select(Job.request).join(PersonalModel, PersonalModel.job_id == Job.id)
    request = session.execute(made.where(PersonalModel.user_id == user_id, PersonalModel.active)).scalar_one_or_none()
    named: str | None = None if request is None else request.get("base")
    if named is None:
        return None
    registered = session.scalars(select(RegisteredBase.name)).all()
    # Before the first worker has come up nobody can tell which names are right.
    return named if named in registered or not registered else None


def wanted_model(job: Job) -> str | int:
    """The model of a segmentation: the version that an earlier attempt pinned (0: the base), else what its request says."""
    wanted: str | int = job.request.get("model", "personal") if job.model_version is None else job.model_version
    return wanted


def personal_for(session: Session, job: Job) -> PersonalModel | None:
    """The personal model that a segmentation of `personal` takes if it is taken up now; None is the base.

    Whoever names no base wants the model in use, whatever base it is on: since the request another can have come into use.
    """
    return personal_on(session, job.user_id, job.request.get("base", job.base))


def personal_on(session: Session, user_id: str, base: str | None) -> PersonalModel | None:
    """The model in use; for a named base on which it is not, the newest version that is. None: the base, as for who uses no model."""
    of_user = select(PersonalModel).where(PersonalModel.user_id == user_id)
    active = session.execute(of_user.where(PersonalModel.active)).scalar_one_or_none()
    if active is None or base in (None, active.base):
        return active
    newest = of_user.where(PersonalModel.base == base).order_by(PersonalModel.version.desc()).limit(1)
    return session.execute(newest).scalar_one_or_none()
