"""A Redis that goes without a word: its host is dead, or something between has forgotten the connection."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import dramatiq
import pytest
import redis
from dramatiq import Worker

from app import queue
from app.tables import JobKind
from tests.silence import Door, door_to
from workers import broker as broker_module
from workers.broker import make_broker, waiting_messages

PATIENCE_SECONDS = 30.0


@pytest.fixture
def door(redis_url: str) -> Iterator[Door]:
    """Between a worker and Redis."""
    with door_to(redis_url.removeprefix("unix://")) as opened:
        yield opened


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second is long here."""
    monkeypatch.setattr(broker_module, "_REPLY_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(broker_module, "_CONNECT_TIMEOUT_SECONDS", 0.5)


def url(door: Door) -> str:
    return f"redis://127.0.0.1:{door.port}/0"


class Listening:
    """A worker that only notes that it was rung for."""

    def __init__(self, redis_url: str) -> None:
        self.heard, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()
        broker = make_broker(redis_url)

        @dramatiq.actor(broker=broker, actor_name="segment", queue_name=JobKind.SEGMENTATION.value)
        def segment(_rung_for: str) -> None:
            self.heard.set()
            self.may_go_on.wait(PATIENCE_SECONDS)

        self._worker = Worker(broker, worker_threads=1, worker_timeout=50)
        self._worker.start()

    def hears(self, redis_url: str) -> bool:
        """Whether it comes when somebody rings, past the door."""
        self.heard.clear()
        assert queue.enqueue(redis_url, JobKind.SEGMENTATION, "a job")
        return self.heard.wait(PATIENCE_SECONDS)

    def stop(self) -> None:
        self._worker.stop(timeout=2000)


@pytest.fixture
def listening(door: Door, hasty: None) -> Iterator[Listening]:
    worker = Listening(url(door))
    yield worker
    worker.may_go_on.set()
    door.let_in()
    worker.stop()


def test_a_worker_hears_again_over_a_new_connection(door: Door, listening: Listening, redis_url: str) -> None:
    assert listening.hears(redis_url)
    door.silence()
    assert listening.hears(redis_url)


def test_a_ring_is_closed_although_redis_was_silent_at_its_end(door: Door, listening: Listening, redis_url: str) -> None:
    """Else it stays in Redis, and is rung again by the next worker."""
    listening.may_go_on.clear()
    assert listening.hears(redis_url)
    door.silence(new_ones_too=True)
    listening.may_go_on.set()
    told_in_vain = threading.Event()
    told_in_vain.wait(3.0)
    door.let_in()
    assert until_nothing_is_held(redis_url)
    assert listening.hears(redis_url)


def until_nothing_is_held(redis_url: str) -> bool:
    """Whether every message is closed before patience ends."""
    client, pause = redis.Redis.from_url(redis_url), threading.Event()
    for _ in range(int(PATIENCE_SECONDS / 0.1)):
        if not client.hlen("dramatiq:segmentation.msgs"):
            return True
        pause.wait(0.1)
    return False


def test_silence_is_a_lost_connection(door: Door, hasty: None) -> None:
    """Dramatiq takes nothing else for one."""
    broker = make_broker(url(door))
    assert waiting_messages(broker, JobKind.ADAPTATION) == 0
    door.silence(new_ones_too=True)
    with pytest.raises(redis.ConnectionError, match="does not answer"):
        waiting_messages(broker, JobKind.ADAPTATION)
