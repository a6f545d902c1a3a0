"""The Dramatiq broker of a worker: Redis brings ids, and nothing in it may fight the lease on the job's row.

No middleware at all: no Retries (attempts are counted in SQL), no TimeLimit (it cannot interrupt C calls, and a job has
its own budget), no AgeLimit (an old ring is as good as a new one; the row decides).
"""

from __future__ import annotations

from typing import cast

import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from app.tables import JobKind

_CONNECT_TIMEOUT_SECONDS = 5.0


def make_broker(redis_url: str) -> RedisBroker:
    """A broker for consuming."""
    client = redis.Redis.from_url(redis_url, socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS, retry=Retry(ExponentialBackoff(cap=1.0), 3))
    return RedisBroker(client=client, middleware=[])  # type: ignore[no-untyped-call]


def waiting_messages(broker: RedisBroker, kind: JobKind) -> int:
    """How many rings of this kind nobody has heard yet."""
    return cast("int", broker.client.llen(f"{broker.namespace}:{kind.value}"))
