"""A worker that has grown too much ends between jobs; large blocks of memory go back to the system."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from tests.workers.conftest import add_segmentation, job_of
from workers.broker import make_broker
from workers.memory import Recycler, bound_allocator, give_back, resident_bytes
from workers.tasks import declare_actors
from workers.workshop import Workshop


def bounded(workshop: Workshop, bound: int) -> None:
    object.__setattr__(workshop, "settings", workshop.settings.model_copy(update={"worker_max_rss_bytes": bound}))


def test_it_knows_what_it_holds() -> None:
    assert resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)


def test_a_worker_that_has_grown_ends_after_its_job(workshop: Workshop, user_id: str) -> None:
    give_back()  # what earlier tests left must not make room for the ballast
    bounded(workshop, resident_bytes() + 200 * 2**20)
    broker = make_broker(workshop.settings.redis_url)
    declare_actors(broker, workshop)
    actor = broker.get_actor("segment")
    job_id = add_segmentation(workshop, user_id, [])
    actor.fn(job_id)
    assert job_of(workshop, job_id).finished_at is not None
    assert not workshop.stopping.is_set()
    ballast = bytearray(b"x") * (400 * 2**20)
    job_id = add_segmentation(workshop, user_id, [])
    actor.fn(job_id)
    assert job_of(workshop, job_id).finished_at is not None, "the job comes first"
    assert workshop.stopping.is_set()
    del ballast


def test_a_bound_below_what_a_worker_starts_with_does_not_end_it_again_and_again(workshop: Workshop) -> None:
    bounded(workshop, 1024)
    assert not Recycler(workshop).look()
    assert not workshop.stopping.is_set()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_large_blocks_go_back_at_once() -> None:
    """In a process of its own: the allocator's setting is for good."""
    script = (
        "import torch; from workers.memory import bound_allocator, give_back, resident_bytes\n"
        "assert bound_allocator()\n"
        "before = resident_bytes()\n"
        "for size in range(9, 31):\n"
        "    blocks = [torch.ones(size * 2**18) for _ in range(8)]; del blocks\n"
        "assert resident_bytes() - before < 40 * 2**20, resident_bytes() - before\n"
        "give_back()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=240)


def test_the_allocator_can_be_asked_anywhere() -> None:
    give_back()
    assert bound_allocator() in (True, False)
