"""The life of a webhook delivery: a job ends → pending → delivered, or failed after hours of attempts.

Rows are the truth: that a job's end has to be told follows from the job's row (`announced`), so whoever ends a job need
not know of webhooks, and nothing is lost when a process dies. A delivery is taken by a conditional UPDATE that sets
its next attempt into the future; who dies while sending has it sent again, so receivers get every message at least once.
No function commits.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from app.tables import ENDED_UNTOLD, DeliveryStatus, Job, Webhook, WebhookDelivery

_SERVICE = "service"
MAX_ATTEMPTS = 10
MOST_AT_ONCE = 16
# 10 s, 30 s, 90 s, … up to 4 h: the ninth pause ends after about eleven hours.
FIRST_PAUSE = timedelta(seconds=10)
PAUSE_GROWTH = 3
LONGEST_PAUSE = timedelta(hours=4)
_AT_ONCE = 500
_DIRECT = {"synchronize_session": False}


@dataclass(frozen=True)
class Outgoing:
    """One message to be sent now; `attempts` counts this one."""

    delivery_id: str
    url: str
    secret: str
    payload: dict[str, Any]
    attempts: int


def owner_of(user_id: str | None) -> str:
    """The owner of a user's webhook, or (None) of the service's: there is one of each."""
    return user_id or _SERVICE


def has_work(session: Session, now: datetime) -> bool:
    """Whether there is anything to announce or to send: a read, so that idle workers take no write lock."""
    return has_untold(session) or session.execute(select(WebhookDelivery.id).where(*_is_due(now)).limit(1)).first() is not None


def has_untold(session: Session) -> bool:
    """Whether there is anything to announce."""
    return session.execute(_untold().limit(1)).first() is not None


def announce(session: Session) -> int:
    """Put the end of jobs that nobody was told of into the outbox; returns how many jobs."""
    # What another sender or a request holds is announced a moment later: nobody waits here, so that nobody waits for each other.
    untold = session.scalars(_untold().limit(_AT_ONCE).with_for_update(key_share=True, skip_locked=True)).all()
    mine = update(Job).where(Job.id.in_(untold), ENDED_UNTOLD).values(announced=True).returning(Job.id)
    job_ids = session.scalars(mine, execution_options=_DIRECT).all()
    ended = session.scalars(select(Job).where(Job.id.in_(job_ids)).order_by(Job.id)).all()
    hooks = _hooks_of(session, {job.user_id for job in ended})
    session.add_all(_delivery(hook, job) for job in ended for hook in hooks if hook.owner in (job.user_id, _SERVICE))
    session.flush()
    return len(ended)


def due_ids(session: Session, now: datetime, limit: int = MOST_AT_ONCE) -> Sequence[str]:
    """The messages to be sent now, at most one per webhook; a read, because behind a service's webhook there can be many.

    A webhook with a message under way, here or in another process, gets none: a slow receiver holds up only its own. Behind one webhook,
    the service's, any user may be next, each with their oldest message: a user whose thousand jobs end at once holds up only their own.
    """
    hook = WebhookDelivery.webhook_id
    oldest = select(hook, func.min(WebhookDelivery.id)).where(*_is_due(now)).group_by(hook, WebhookDelivery.user_id)
    # By chance, so that where more are due than are taken at once, slow receivers are not always the first.
    by_hook = dict(session.execute(oldest.order_by(func.random())).all())
    return list(by_hook.values())[:limit]


def take(session: Session, delivery_ids: Sequence[str], now: datetime, *, sending_seconds: float) -> list[Outgoing]:
    """Those of the messages that are still due; nobody else gets them for `sending_seconds`."""
    if not delivery_ids:
        return []
    hooks = select(WebhookDelivery.webhook_id).where(WebhookDelivery.id.in_(delivery_ids))
    # Of two senders who have chosen different messages of one webhook, only one gets to the second statement with it.
    free = select(Webhook.id).where(Webhook.id.in_(hooks)).order_by(Webhook.id).with_for_update(key_share=True, skip_locked=True)
    mine = (
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(delivery_ids), WebhookDelivery.webhook_id.in_(session.scalars(free).all()), *_is_due(now))
        .values(attempts=WebhookDelivery.attempts + 1, error=None, next_attempt_at=now + timedelta(seconds=sending_seconds))
        .returning(WebhookDelivery.id)
    )
    taken = session.scalars(mine, execution_options=_DIRECT).all()
    rows = session.execute(
        select(WebhookDelivery, Webhook).join(Webhook, WebhookDelivery.webhook_id == Webhook.id).where(WebhookDelivery.id.in_(taken))
    )
    return [Outgoing(row.id, hook.url, hook.secret, row.payload, row.attempts) for row, hook in rows]


def delivered(session: Session, message: Outgoing, now: datetime, *, response_status: int) -> None:
    """Close a delivery whose receiver has said yes."""
    _write(
        session,
        message,
        status=DeliveryStatus.DELIVERED,
        response_status=response_status,
        error=None,
        next_attempt_at=None,
        delivered_at=now,
    )


def failed(session: Session, message: Outgoing, now: datetime, *, error: str, response_status: int | None, for_good: bool = False) -> None:
    """Write why an attempt failed; there is another one later, unless this was the last."""
    last = for_good or message.attempts >= MAX_ATTEMPTS
    _write(
        session,
        message,
        status=DeliveryStatus.FAILED if last else DeliveryStatus.PENDING,
        response_status=response_status,
        error=error,
        next_attempt_at=None if last else now + pause_after(message.attempts) * random.uniform(0.9, 1.1),  # noqa: S311 - spreads load
    )


def pause_after(attempts: int) -> timedelta:
    """How long to wait after so many attempts."""
    growth: int = PAUSE_GROWTH ** (attempts - 1)
    return min(LONGEST_PAUSE, FIRST_PAUSE * growth)


def forget(session: Session, before: datetime) -> int:
    """Remove the deliveries that ended before this time were made; returns how many."""
    old = delete(WebhookDelivery).where(WebhookDelivery.status != DeliveryStatus.PENDING, WebhookDelivery.created_at < before)
    return len(session.execute(old.returning(WebhookDelivery.id), execution_options=_DIRECT).all())


def _untold() -> Select[str]:
    return select(Job.id).where(ENDED_UNTOLD).order_by(Job.id)


def _is_due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (WebhookDelivery.status == DeliveryStatus.PENDING, WebhookDelivery.next_attempt_at <= now, _nothing_under_way(now))


def _nothing_under_way(now: datetime) -> ColumnElement[bool]:
    """Whether the delivery's webhook is being sent nothing. The list is made once a statement, not once a delivery."""
    other = aliased(WebhookDelivery)
    # Taken, and no word yet of how it went: `take` clears the error, `failed` writes one.
    is_under_way = (other.status == DeliveryStatus.PENDING, other.next_attempt_at > now, other.attempts > 0, other.error.is_(None))
    return WebhookDelivery.webhook_id.not_in(select(other.webhook_id).where(*is_under_way))


def _hooks_of(session: Session, user_ids: set[str]) -> Sequence[Webhook]:
    return session.scalars(select(Webhook).where(Webhook.owner.in_([*user_ids, _SERVICE]))).all()


def _delivery(hook: Webhook, job: Job) -> WebhookDelivery:
    event = f"{job.kind}.{job.status}"
    return WebhookDelivery(webhook_id=hook.id, user_id=job.user_id, job_id=job.id, event=event, payload=_payload(event, job))


def _payload(event: str, job: Job) -> dict[str, Any]:
    """Ids and the end; reports and photos are for who asks with a token."""
    assert job.finished_at is not None
    return {
        "type": event,
        "timestamp": job.finished_at.isoformat(),
        "data": {
            "user_id": job.user_id,
            "job_id": job.id,
            "kind": job.kind,
            "status": job.status,
            "model_version": job.model_version,
            "error_code": job.error_code,
            "error_reason": job.error_reason,
            "created_at": job.created_at.isoformat(),
            "started_at": None if job.started_at is None else job.started_at.isoformat(),
            "finished_at": job.finished_at.isoformat(),
            "url": f"/v1/users/{job.user_id}/{job.kind}s/{job.id}",
        },
    }


def _write(session: Session, message: Outgoing, **values: Any) -> None:
    # A later attempt by somebody else has the say.
    own = (WebhookDelivery.id == message.delivery_id, WebhookDelivery.attempts == message.attempts)
    session.execute(update(WebhookDelivery).where(*own).values(**values), execution_options=_DIRECT)
