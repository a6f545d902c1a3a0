"""The Dramatiq broker of a worker: Redis brings ids, and nothing in it may fight the lease on the job's row.

No middleware at all: no Retries (attempts are counted in SQL), no TimeLimit (it cannot interrupt C calls, and a job has
its own budget), no AgeLimit (an old ring is as good as a new one; the row decides).
"""

from __future__ import annotations

from typing import Any, cast

import redis
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from app.tables import JobKind

_CONNECT_TIMEOUT_SECONDS = 5.0
# Dramatiq asks and sleeps, it never waits inside a command: an answer that takes this long does not come any more. It asks often enough
# to need no keepalive (which a Unix socket does not take).
_REPLY_TIMEOUT_SECONDS = 5.0


class _Consuming(redis.Redis):
    """A client for which a silent Redis is a lost connection: that is what Dramatiq waits for and tries again."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        """As `redis.Redis`, but raises redis.ConnectionError in the place of redis.TimeoutError, which is none."""
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except redis.TimeoutError as error:
            raise redis.ConnectionError(f"Redis does not answer: {error}") from error


def make_broker(redis_url: str) -> RedisBroker:
    """A broker for consuming; it asks anew, over a new connection, where Redis has gone without a word."""
    client = _Consuming.from_url(
        redis_url,
        socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        socket_timeout=_REPLY_TIMEOUT_SECONDS,
        retry=Retry(ExponentialBackoff(cap=1.0), 3),
    )
    return RedisBroker(client=client, middleware=[])  # type: ignore[no-untyped-call]


def waiting_messages(broker: RedisBroker, kind: JobKind) -> int:
    """How many rings of this kind nobody has heard yet."""
    return cast("int", broker.client.llen(f"{broker.namespace}:{kind.value}"))
