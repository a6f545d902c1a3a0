"""The doorbell: tells the workers of a job over Redis. The job row is the truth, so a lost ring loses no job."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.tables import JobKind

# Stands in a message for a job that was erased.
NOBODYS_JOB = "00000000-0000-0000-0000-000000000000"
# Of a queue: its own messages, the delayed and the dead ones.
_MESSAGE_HASHES = (".msgs", ".DQ.msgs", ".XQ.msgs")
# Only while it is there: a worker may have taken and closed the message meanwhile.
_REPLACE = "if redis.call('hexists', KEYS[1], ARGV[1]) == 0 then return 0 end redis.call('hset', KEYS[1], ARGV[1], ARGV[2]) return 1"
ACTOR_OF_KIND = {JobKind.ADAPTATION: "adapt", JobKind.SEGMENTATION: "segment"}
_CONNECT_TIMEOUT_SECONDS = 1.0
_REPLY_TIMEOUT_SECONDS = 2.0

log = structlog.get_logger(__name__)


def enqueue(redis_url: str, kind: str, job_id: str) -> bool:
    """Ring for one job, after its row is committed; False (and a warning) when Redis does not answer.

    The message names queue and actor, so that the actor's code need not be imported here; its argument is the job id.
    """
    job_kind = JobKind(kind)
    message: dramatiq.Message[Any] = dramatiq.Message(
        queue_name=job_kind.value, actor_name=ACTOR_OF_KIND[job_kind], args=(job_id,), kwargs={}, options={}
    )
    try:
        _broker(redis_url).enqueue(message)
    except (redis.RedisError, OSError) as error:
        log.warning("queue.not_rung", job_id=job_id, kind=job_kind.value, error=str(error))
        return False
    return True


def forget(redis_url: str, job_ids: Sequence[str]) -> int:
    """Make every message nameless that rings for one of these jobs; returns how many. Raises redis.RedisError.

    The rings themselves stay: a ring wakes a worker for whichever job is next, and another user's may need it.
    """
    broker = _broker(redis_url)
    client, wanted, forgotten = broker.client, set(job_ids), 0
    for kind in JobKind if wanted else ():
        for suffix in _MESSAGE_HASHES:
            name = f"{broker.namespace}:{kind.value}{suffix}"
            for message_id, data in client.hscan_iter(name):
                message: dramatiq.Message[Any] = dramatiq.Message.decode(data)
                if wanted.intersection(message.args):
                    nameless = message.copy(args=(NOBODYS_JOB,))
                    forgotten += client.eval(_REPLACE, 1, name, message_id, nameless.encode()) == 1
    return forgotten


def ping(redis_url: str) -> None:
    """Raise redis.RedisError when Redis does not answer."""
    _broker(redis_url).client.ping()


@lru_cache(maxsize=8)
def _broker(redis_url: str) -> RedisBroker:
    # No middleware and no maintenance: this side only sends. A Redis that is down must not hold up a request.
    client = redis.Redis.from_url(
        redis_url,
        socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        socket_timeout=_REPLY_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
    return RedisBroker(client=client, middleware=[], maintenance_chance=0)  # type: ignore[no-untyped-call]
