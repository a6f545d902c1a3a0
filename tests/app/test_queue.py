"""The doorbell, with a real Redis and a real Dramatiq worker."""

from __future__ import annotations

import queue as stdlib_queue

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker

from app import queue
from app.tables import JobKind
from tests.conftest import free_port


@pytest.mark.parametrize(("kind", "actor"), [(JobKind.ADAPTATION, "adapt"), (JobKind.SEGMENTATION, "segment")])
def test_a_worker_gets_the_job_id_on_the_queue_of_its_kind(redis_url: str, kind: JobKind, actor: str) -> None:
    received: stdlib_queue.Queue[tuple[object, ...]] = stdlib_queue.Queue()
    broker = RedisBroker(url=redis_url)  # type: ignore[no-untyped-call]

    def take(*arguments: object) -> None:
        received.put(arguments)

    dramatiq.actor(take, actor_name=actor, queue_name=kind.value, broker=broker)
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    assert queue.enqueue(redis_url, kind, "the-job") is True
    worker.start()
    try:
        assert received.get(timeout=10) == ("the-job",)
    finally:
        worker.stop()
        broker.close()


def test_without_redis_ringing_says_no_and_does_not_raise() -> None:
    assert queue.enqueue(f"redis://127.0.0.1:{free_port()}/0", JobKind.ADAPTATION, "the-job") is False
