"""A gallery's segmentation in as many jobs as it takes, told as one. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from app.client.documents import GallerySegmentation, ItemCounts, Job, ModelChoice
from app.client.errors import InvalidRequest

MOST_NAMED = 10_000
"""Photos that one request names, however many the service would take: a request's body is bounded, too."""


def most_photos(error: InvalidRequest) -> int | None:
    """How many photos one job takes, as the refusal of a larger one tells; None where it tells something else."""
    most = error.problem.get("most") if error.code == "too_many_images" else None
    return min(most, MOST_NAMED) if isinstance(most, int) and most > 0 else None


def cut(image_ids: Sequence[str], most: int) -> list[Sequence[str]]:
    """The ids in parts of at most `most`."""
    return [image_ids[start : start + most] for start in range(0, len(image_ids), most)]


def model_of(job: Job) -> tuple[ModelChoice, str | None]:
    """The model that a job has used, as another job is told to take it: a version; or the base, and which."""
    return (job.model_version, None) if job.model_version else ("base", job.base)


def as_one(ended: Sequence[Job], job: Job, to_come: int) -> GallerySegmentation:
    """The parts that have ended, the one under way (or the last), and so many photos to come, as one job."""
    parts = [*ended, job]
    counts = [part.item_counts or ItemCounts() for part in parts]
    in_all = ItemCounts(
        pending=sum(count.pending for count in counts) + to_come,
        done=sum(count.done for count in counts),
        failed=sum(count.failed for count in counts),
    )
    several = bool(ended or to_come)
    own = job.model_dump()
    if to_come and job.status == "succeeded":
        own["status"] = "running"
    return GallerySegmentation.model_validate(
        {
            **own,
            "percent": _percent(counts, job, in_all) if several else job.percent,
            "eta_seconds": None if to_come else job.eta_seconds,
            "item_counts": in_all,
            "items": [item for part in parts for item in part.items],
            "jobs": [part.id for part in parts],
            "photos_to_come": to_come,
        }
    )


def _percent(counts: Sequence[ItemCounts], job: Job, in_all: ItemCounts) -> float:
    *before, now = (count.pending + count.done + count.failed for count in counts)
    through = sum(before) + now * (job.percent or 0) / 100
    return 100 * through / max(1, in_all.pending + in_all.done + in_all.failed)
