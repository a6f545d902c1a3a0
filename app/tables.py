"""The tables. ("Models" means machine learning here.) Ids are UUIDv7 text; times are aware UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app import trace_context
from app.clock import utc_now
from app.ids import new_id


class JobKind(StrEnum):
    """What a job does; also the name of its queue."""

    ADAPTATION = "adaptation"
    SEGMENTATION = "segmentation"


class JobStatus(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_STATUSES = (JobStatus.QUEUED, JobStatus.RUNNING)


class TokenKind(StrEnum):
    """Who a token speaks for."""

    SERVICE = "service"
    USER = "user"
    READ_ONLY = "read_only"


class ItemStatus(StrEnum):
    """Where one photo of a segmentation is."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC times in and out; SQLite, which has no time zones, holds them as naive UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database; raises ValueError for a naive time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        in_utc = value.astimezone(UTC)
        return in_utc.replace(tzinfo=None) if dialect.name == "sqlite" else in_utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: always aware, always UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Table(DeclarativeBase):
    """The common ground of the tables; constraints get the same names on every database."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
    }


Id = String(36)

# What partial indexes hold. Statements use these very texts: SQLite compares the words, and SQLAlchemy says `announced = 0` there.
ENDED_UNTOLD = text("finished_at IS NOT NULL AND NOT announced")
AUTO_ADAPTED = text("auto_adapt")


class User(Table):
    """A person whose photos these are. `erased_at` is set while everything of theirs is being removed."""

    __tablename__ = "users"
    __table_args__ = (Index("ix_users_auto_adapt", "id", sqlite_where=AUTO_ADAPTED, postgresql_where=AUTO_ADAPTED),)
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    external_id: Mapped[str | None] = mapped_column(String(255), unique=True)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    erased_at: Mapped[datetime | None]
    # The user's own limits; null means the service's.
    quota_images: Mapped[int | None] = mapped_column(BigInteger)
    quota_bytes: Mapped[int | None] = mapped_column(BigInteger)
    quota_adaptation_seconds: Mapped[float | None] = mapped_column(Float(53))
    # Adaptations start by themselves; and the arrival of the newest photo of which `app.auto_adaptation` has taken care.
    auto_adapt: Mapped[bool] = mapped_column(Boolean, default=False)
    auto_adapt_seen: Mapped[datetime | None]


class Token(Table):
    """A bearer token, held as its SHA-256 only."""

    __tablename__ = "tokens"
    __table_args__ = (CheckConstraint("(kind = 'service') = (user_id IS NULL)", name="owner"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[str] = mapped_column(String(64), unique=True)
    prefix: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class DeliveryStatus(StrEnum):
    """Where one webhook delivery is."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Webhook(Table):
    """Where the end of jobs is told: one per user, and one of the service (`owner` is `service`, `user_id` null)."""

    __tablename__ = "webhooks"
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    owner: Mapped[str] = mapped_column(Id, unique=True)
    user_id: Mapped[str | None] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(String(2048))
    # As it is: signing needs the secret itself (docs/decisions/0010).
    secret: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    changed_at: Mapped[datetime] = mapped_column(default=utc_now)


class WebhookDelivery(Table):
    """One job's end to be told to one webhook; its id is the message's, the same in every attempt."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "job_id"),
        Index("ix_webhook_deliveries_status_next_attempt_at", "status", "next_attempt_at"),
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    webhook_id: Mapped[str] = mapped_column(Id, ForeignKey("webhooks.id", ondelete="CASCADE"))
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), index=True)
    event: Mapped[str] = mapped_column(String(64))
    payload: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16), default=DeliveryStatus.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(default=utc_now)
    response_status: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
    delivered_at: Mapped[datetime | None]


class Image(Table):
    """One photo; `width` and `height` are EXIF-upright pixels."""

    __tablename__ = "images"
    __table_args__ = (
        UniqueConstraint("user_id", "sha256"),
        Index("ix_images_user_id_created_at", "user_id", "created_at"),
        Index("ix_images_user_id_id", "user_id", "id"),
        Index("ix_images_user_id_byte_size", "user_id", "byte_size"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    sha256: Mapped[str] = mapped_column(String(64))
    filename: Mapped[str] = mapped_column(String(1024))
    media_type: Mapped[str] = mapped_column(String(64))
    byte_size: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    taken_at: Mapped[datetime | None]
    group_index: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Job(Table):
    """One piece of work. Its life is in `app.jobs`; nobody else writes status, lease or progress."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("kind IN ('adaptation', 'segmentation')", name="kind"),
        CheckConstraint("status IN ('queued', 'running', 'succeeded', 'refused', 'failed', 'cancelled')", name="status"),
        Index(
            "uq_jobs_one_active_adaptation",
            "user_id",
            unique=True,
            sqlite_where=text("kind = 'adaptation' AND status IN ('queued', 'running')"),
            postgresql_where=text("kind = 'adaptation' AND status IN ('queued', 'running')"),
        ),
        Index("ix_jobs_status_kind_id", "status", "kind", "id"),
        Index("ix_jobs_user_id_kind_id", "user_id", "kind", "id"),
        Index("ix_jobs_user_id_kind_status", "user_id", "kind", "status"),
        Index("ix_jobs_user_id_kind_served_at", "user_id", "kind", "served_at"),
        Index("ix_jobs_to_announce", "id", sqlite_where=ENDED_UNTOLD, postgresql_where=ENDED_UNTOLD),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), default=JobStatus.QUEUED)
    request: Mapped[dict[str, Any]]
    base: Mapped[str] = mapped_column(String(64))
    stage: Mapped[str | None] = mapped_column(String(64))
    step: Mapped[int] = mapped_column(default=0)
    steps: Mapped[int] = mapped_column(default=0)
    percent: Mapped[float] = mapped_column(Float(53), default=0.0)
    eta_seconds: Mapped[float | None] = mapped_column(Float(53))
    attempt: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(255))
    lease_token: Mapped[int] = mapped_column(default=0)
    lease_expires_at: Mapped[datetime | None]
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    model_version: Mapped[int | None]
    depends_on: Mapped[str | None] = mapped_column(Id, ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_reason: Mapped[str | None] = mapped_column(Text)
    report: Mapped[dict[str, Any] | None]
    timeline: Mapped[list[Any]] = mapped_column(default=list)
    # Grows with every write; it is the id of the server-sent event of that state.
    revision: Mapped[int] = mapped_column(default=0)
    # When Redis was last told of this job; the sweeper rings again some seconds later.
    rung_at: Mapped[datetime | None] = mapped_column(default=utc_now)
    # When a worker last took or left it, and when it last gave way to other jobs: `app.turns` goes by these.
    served_at: Mapped[datetime | None]
    yielded_at: Mapped[datetime | None]
    # The request that made it, for logs and traces.
    trace: Mapped[dict[str, Any] | None] = mapped_column(default=trace_context.current)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    # Whether its end has been put into the webhooks' outbox.
    announced: Mapped[bool] = mapped_column(Boolean, default=False)


class SegmentationItem(Table):
    """One photo of one segmentation job."""

    __tablename__ = "segmentation_items"
    job_id: Mapped[str] = mapped_column(Id, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    image_id: Mapped[str] = mapped_column(Id, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True, index=True)
    position: Mapped[int]
    status: Mapped[str] = mapped_column(String(16), default=ItemStatus.PENDING)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_reason: Mapped[str | None] = mapped_column(Text)


class PersonalModel(Table):
    """One version of one user's model; versions count 1, 2, … and are never used again."""

    __tablename__ = "personal_models"
    __table_args__ = (
        UniqueConstraint("user_id", "version"),
        Index(
            "uq_personal_models_one_active",
            "user_id",
            unique=True,
            sqlite_where=text("active"),
            postgresql_where=text("active"),
        ),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    version: Mapped[int]
    base: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(Id, ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    blob_key: Mapped[str] = mapped_column(String(512))
    sha256: Mapped[str] = mapped_column(String(64))
    byte_size: Mapped[int] = mapped_column(BigInteger)
    report: Mapped[dict[str, Any]]
    active: Mapped[bool] = mapped_column(Boolean, default=False)
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Mask(Table):
    """One photo's mask by one model; `model_version` 0 is the base itself."""

    __tablename__ = "masks"
    __table_args__ = (UniqueConstraint("user_id", "image_id", "model_version", "base"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    image_id: Mapped[str] = mapped_column(Id, ForeignKey("images.id", ondelete="CASCADE"), index=True)
    model_version: Mapped[int]
    base: Mapped[str] = mapped_column(String(64))
    base_sha256: Mapped[str | None] = mapped_column(String(64))
    """Names the base's weights; null for masks of before 2026-12-01."""
    job_id: Mapped[str | None] = mapped_column(Id, ForeignKey("jobs.id", ondelete="SET NULL"), index=True)
    labels_key: Mapped[str] = mapped_column(String(512))
    confidence_key: Mapped[str] = mapped_column(String(512))
    classes: Mapped[list[Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Worker(Table):
    """A worker process that has registered itself; `queues` is a list of JobKind values."""

    __tablename__ = "workers"
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    queues: Mapped[list[Any]]
    hostname: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int]
    device: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(default=utc_now)
    heartbeat_at: Mapped[datetime] = mapped_column(default=utc_now)


class RegisteredBase(Table):
    """A base model that some worker has; `classes` is a list of {id, name, color: [r, g, b]}."""

    __tablename__ = "bases"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    title: Mapped[str] = mapped_column(String(255))
    classes: Mapped[list[Any]]
    licence: Mapped[str] = mapped_column(Text)
    scores: Mapped[dict[str, Any]]
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    context: Mapped[str] = mapped_column(String(32), default="trained")
    weights_present: Mapped[bool] = mapped_column(Boolean, default=True)
    registered_at: Mapped[datetime] = mapped_column(default=utc_now)


class Erasure(Table):
    """The erasure of one user. `user_id` is null once nothing of them is left; the report then names nobody."""

    __tablename__ = "erasures"
    id: Mapped[str] = mapped_column(Id, primary_key=True, default=new_id)
    user_id: Mapped[str | None] = mapped_column(Id, ForeignKey("users.id", ondelete="SET NULL"), unique=True)
    report: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    attempted_at: Mapped[datetime] = mapped_column(default=utc_now)
    finished_at: Mapped[datetime | None]


class Chore(Table):
    """What every process would do now and then, and one of them is to do: when one began with it last."""

    __tablename__ = "chores"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    begun_at: Mapped[datetime]


class IdempotencyKey(Table):
    """What a request with this key made. `owner` is a user's id, or a service token's where it made the user itself."""

    __tablename__ = "idempotency_keys"
    owner: Mapped[str] = mapped_column(Id, primary_key=True)
    route: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), index=True)
    body_sha256: Mapped[str] = mapped_column(String(64))
    response: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, index=True)
