"""What the API answers, typed. Unknown fields are ignored, so that a newer server still works."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.client.errors import JobFailed

JsonObject = dict[str, Any]
JobKind = Literal["adaptation", "segmentation"]
ModelChoice = Literal["personal", "base"] | int
MaskFormat = Literal["png", "overlay", "confidence"]
ExportFormat = Literal["coco", "coco-panoptic", "voc", "labelstudio", "confidence"]
Adapt = Literal["auto", "always", "never"]

ENDED = frozenset({"succeeded", "refused", "failed", "cancelled"})


class Document(BaseModel):
    """Base of all answers: frozen, tolerant of fields it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())


class User(Document):
    """A user; `token` is there only in the answer that created it, the counts only where the user was read."""

    id: str
    external_id: str | None = None
    token: str | None = None
    images: int | None = None
    images_bytes: int | None = None
    active_model_version: int | None = None


class Caller(Document):
    """The holder of the token in use; `user_id` is None for a service token."""

    kind: str
    user_id: str | None = None


class Token(Document):
    """A token of the user; `token`, its text, is there only in the answer that created it."""

    id: str
    prefix: str = ""
    scope: str = "user"
    token: str | None = None
    created_at: str | None = None
    last_used_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None


class Quota(Document):
    """One limit and what is used of it; `is_own` where it is set for this user instead of the service's default."""

    limit: float
    used: float = 0
    is_own: bool = False


class Quotas(Document):
    """What the user may store, and how long adaptations may run within 24 hours."""

    images: Quota
    bytes: Quota
    adaptation_seconds: Quota


class UserSettings(Document):
    """What the user has chosen."""

    auto_adapt: bool = False


class Webhook(Document):
    """Who is told of the end of jobs; `secret` is there only in the answer that made it."""

    url: str
    secret: str | None = None


class Delivery(Document):
    """One job's end, told or to be told."""

    id: str
    event: str
    job_id: str
    status: str
    attempts: int = 0
    response_status: int | None = None
    error: str | None = None


class Erasure(Document):
    """An erasure: `running` or `succeeded`, and what was removed; it does not say whose."""

    id: str
    status: str
    report: JsonObject = Field(default_factory=dict)


class Image(Document):
    """A photo of the gallery; width and height are those of the upright photo, in pixels."""

    id: str
    filename: str = ""
    sha256: str = ""
    byte_size: int = 0
    width: int = 0
    height: int = 0
    taken_at: str | None = None
    group_index: int | None = None


class Item(Document):
    """One photo of a segmentation: `pending`, `done` or `failed`."""

    image_id: str
    filename: str = ""
    status: str = "pending"
    error_code: str | None = None
    error_reason: str | None = None


class ItemCounts(Document):
    """How many photos of a segmentation stand where."""

    pending: int = 0
    done: int = 0
    failed: int = 0


class Span(Document):
    """One stage of a job; times are ISO 8601 in UTC."""

    stage: str
    started_at: str | None = None
    finished_at: str | None = None


class Job(Document):
    """An adaptation or a segmentation, as it stands; a segmentation on a list or on its way has its photos only counted."""

    id: str
    kind: str = ""
    status: str
    base: str | None = None
    stage: str | None = None
    step: int | None = None
    steps: int | None = None
    percent: float | None = None
    eta_seconds: float | None = None
    queue_position: int | None = None
    cancel_requested: bool = False
    depends_on: str | None = None
    attempt: int = 0
    model_version: int | None = None
    error_code: str | None = None
    error_reason: str | None = None
    report: JsonObject | None = None
    timeline: tuple[Span, ...] = ()
    item_counts: ItemCounts | None = None
    items: tuple[Item, ...] = ()

    @property
    def ended(self) -> bool:
        """True once nothing more will happen to it."""
        return self.status in ENDED

    def require_success(self) -> Self:
        """The job itself, when it succeeded or was refused (a refusal is an answer: the base is kept).

        Raises:
            JobFailed: it failed or was cancelled.
        """
        if self.status in {"failed", "cancelled"}:
            raise JobFailed(self)
        return self


class GallerySegmentation(Job):
    """A gallery's segmentation, which takes one job or, of a large gallery, several: photos and percent are those of all.

    What else it tells is of the job under way, at the end of the last one; `jobs` are the ids of those that were started.
    """

    jobs: tuple[str, ...] = ()
    photos_to_come: int = 0
    """Photos for which no job is started yet."""


class PersonalModel(Document):
    """A version of the user's own model."""

    version: int
    base: str = ""
    active: bool = False
    byte_size: int = 0
    created_at: str | None = None
    report: JsonObject | None = None
    stale: bool = False
    newer_photos: int = 0
    removed_photos: int = 0

    @property
    def sentence(self) -> str:
        """The guard's verdict in words, where the report tells it."""
        verdict = (self.report or {}).get("verdict")
        return str(verdict.get("sentence") or "") if isinstance(verdict, dict) else ""


class ClassInfo(Document):
    """A class of a base; `color` is (red, green, blue), each 0 to 255."""

    id: int
    name: str
    color: tuple[int, int, int] = (0, 0, 0)


class MaskClass(Document):
    """A class that occurs in a mask; shares and confidence in [0, 1]."""

    id: int
    name: str
    area_share: float = 0.0
    mean_confidence: float | None = None


class BaseInfo(Document):
    """A base model that the deployment offers."""

    name: str
    title: str = ""
    licence: str = ""
    is_default: bool = False
    classes: tuple[ClassInfo, ...] = ()
    scores: JsonObject = Field(default_factory=dict)
    context: str = "trained"
    weights_present: bool = True


class Check(Document):
    """One thing that the service stands on."""

    ok: bool
    detail: str = ""


class Readiness(Document):
    """Whether the service can do its work, and what each part says."""

    ready: bool
    checks: dict[str, Check] = Field(default_factory=dict)


@dataclass(frozen=True)
class UploadResult:
    """What became of one file: `stored`, `duplicate` (with the id of the photo that is there already) or `rejected`."""

    path: Path
    status: str
    image_id: str | None = None
    code: str | None = None
    reason: str | None = None
