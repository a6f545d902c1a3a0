"""Wrong tokens are counted by the address they come from, on Redis (`limits`), or in this process while Redis is away.

A right token always passes: behind a proxy or a shared line, whoever guesses must not lock the others out. 256 random
bits are not guessed; the bound keeps the noise, and what it costs, small.
"""

from __future__ import annotations

import ipaddress
import math
import time

import redis
import structlog
from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import MovingWindowRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import TooManyRequests

_CONNECT_TIMEOUT_SECONDS = 0.5
_REPLY_TIMEOUT_SECONDS = 1.0
_WITHOUT_REDIS_SECONDS = 10.0
_PREFIX = "personalseg-auth"
_IPV6_NETWORK_BITS = 64  # one subscriber has that many addresses

log = structlog.get_logger(__name__)


class FailedAttempts:
    """The wrong tokens of the last minute, by address."""

    def __init__(self, redis_url: str, per_minute: int) -> None:
        self._limit = RateLimitItemPerMinute(per_minute)
        self._redis_url = redis_url
        self._in_redis: MovingWindowRateLimiter | None = None
        self._in_memory = MovingWindowRateLimiter(MemoryStorage())
        self._without_redis_until = -math.inf

    def note(self, address: str) -> None:
        """Count one more; raises TooManyRequests when there have been too many of late."""
        try:
            if time.monotonic() < self._without_redis_until:
                self._note(self._in_memory, address)
            else:
                self._note(self._redis(), address)
        except StorageError as error:
            # For a while Redis is not asked again, so that its absence costs one caller a wait and not all of them.
            self._without_redis_until = time.monotonic() + _WITHOUT_REDIS_SECONDS
            log.warning("auth.attempts_counted_in_memory", error=type(error.storage_error).__name__)
            self._note(self._in_memory, address)

    def _note(self, limiter: MovingWindowRateLimiter, address: str) -> None:
        if limiter.hit(self._limit, address):
            return
        seconds = math.ceil(limiter.get_window_stats(self._limit, address).reset_time - time.time())
        raise TooManyRequests(
            "too_many_failed_attempts", "Too many wrong tokens came from this address. Wait a moment.", retry_after_seconds=seconds
        )

    def _redis(self) -> MovingWindowRateLimiter:
        if self._in_redis is None:
            self._in_redis = MovingWindowRateLimiter(_redis_storage(self._redis_url))
        return self._in_redis


def _redis_storage(url: str) -> Storage:
    pool = redis.ConnectionPool.from_url(
        url,
        socket_connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        socket_timeout=_REPLY_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),
    )
    # The URI is only read for its scheme: the pool knows the address.
    return RedisStorage("redis://", pool, _PREFIX, wrap_exceptions=True)


def client_address(request: Request, trusted_proxies: int) -> str:
    """Where the request comes from; behind `trusted_proxies` proxies, what the outermost of them wrote of its caller.

    What stands further left in X-Forwarded-For came from the caller and is not believed.
    """
    host = request.client.host if request.client else "local"
    hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    if trusted_proxies and len(hops) >= trusted_proxies:
        host = hops[-trusted_proxies]
    return _network(host)


def _network(host: str) -> str:
    if host.count(":") == 1:  # some proxies write the port too
        host = host.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))
    return str(address)
