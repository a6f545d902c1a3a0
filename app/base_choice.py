"""Which base model an adaptation goes to where nobody names one. Shared by API and workers."""

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
