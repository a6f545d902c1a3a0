"""Which unfinished segmentation makes the mask that somebody asks for."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from app import base_choice
from app.adaptations import repository as adaptation_repository
from app.model_choice import ModelChoice
from app.personal_models import repository as model_repository
from app.segmentations import repository
from app.tables import Job, PersonalModel


@dataclass(frozen=True)
class _Maker:
    """The model of a job; `version` 0 is the base, None the version that an adaptation has yet to make."""

    version: int | None
    base: str


def job_of(session: Session, user_id: str, image_id: str, choice: ModelChoice | None, base: str | None) -> Job | None:
    """The newest unfinished segmentation that makes the photo's mask by this model, chosen as `GET …/mask` chooses."""
    found = repository.pending_jobs_of(session, user_id, image_id)
    if not found:
        return None
    active = model_repository.active(session, user_id)
    adaptation = adaptation_repository.active(session, user_id)
    for job in found:
        maker = _maker(session, job, adapts_first=adaptation is not None and job.depends_on == adaptation.id)
        if _is_chosen(maker, choice, base, active):
            return job
    return None


def _maker(session: Session, job: Job, *, adapts_first: bool) -> _Maker:
    """What a worker that has the job took; before, what one would take now."""
    wanted = base_choice.wanted_model(job)
    if wanted == "base":
        return _Maker(0, job.base)
    if wanted != "personal":
        return _Maker(int(wanted), job.base)
    if adapts_first:
        return _Maker(None, job.base)
    taken = base_choice.personal_for(session, job)
    return _Maker(0, job.base) if taken is None else _Maker(taken.version, taken.base)


def _is_chosen(maker: _Maker, choice: ModelChoice | None, base: str | None, active: PersonalModel | None) -> bool:
    if choice == "base":
        return maker.version == 0 and base in (None, maker.base)
    if isinstance(choice, int):
        return maker.version == choice
    in_use = 0 if active is None else active.version
    # Without a choice the base's mask is given until there is one by the model in use.
    return maker.version in ((None, in_use, 0) if choice is None else (None, in_use))
