"""A GPU that stops working: after an assertion in it, a bad access or broken memory every later call of the process fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn

import pytest
import torch

from app import queue
from app.tables import ItemStatus, JobKind, JobStatus
from tests.workers.conftest import BASE, add_adaptation, add_photo, add_segmentation, job_of, photograph, require_three_attempts
from tests.workers.test_jobs_done import items_of
from workers.__main__ import EXIT_TRY_AGAIN, work_until_stopped
from workers.adaptation import adapt_gallery
from workers.cache import BaseCache
from workers.failures import describe, is_device_lost
from workers.segmentation import segment_photos
from workers.tasks import Work, run
from workers.workshop import Workshop

PATIENCE_SECONDS = 60.0
LOST = [
    torch.AcceleratorError("CUDA error: device-side assert triggered\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."),
    RuntimeError("CUDA error: uncorrectable ECC error encountered"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(…)`"),
]
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    torch.AcceleratorError("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
]

Break = Callable[[Exception], None]


@pytest.fixture
def images(workshop: Workshop, user_id: str) -> list[str]:
    return [add_photo(workshop, user_id, photograph(name)) for name in ("chelsea.png", "coffee.png")]


@pytest.fixture
def break_network(bases: BaseCache, monkeypatch: pytest.MonkeyPatch) -> Break:
    """From then on every pass through the network fails."""

    def broken_by(error: Exception) -> None:
        def forward(*_: object, **__: object) -> NoReturn:
            raise error

        monkeypatch.setattr(type(bases.get(BASE).segmenter.base), "forward", forward)

    return broken_by


def add_job(workshop: Workshop, user_id: str, images: list[str], kind: JobKind) -> tuple[str, Work]:
    if kind == JobKind.ADAPTATION:
        return add_adaptation(workshop, user_id), adapt_gallery
    return add_segmentation(workshop, user_id, images, model="base"), segment_photos


@pytest.mark.parametrize("error", LOST, ids=str)
def test_a_lost_device_is_told_from_a_full_one(error: Exception) -> None:
    assert is_device_lost(error)
    assert describe(error).code == "device_lost"


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_full_device_is_not_lost(error: Exception) -> None:
    assert not is_device_lost(error)
    assert describe(error).code == "out_of_memory"


@pytest.mark.parametrize("error", [ZeroDivisionError(), RuntimeError("shape '[2]' is invalid"), MemoryError()], ids=str)
def test_another_error_is_not_the_devices(error: Exception) -> None:
    assert not is_device_lost(error)


@pytest.mark.parametrize("kind", list(JobKind))
@pytest.mark.parametrize("error", LOST[:2], ids=["accelerator", "runtime"])
def test_the_job_goes_back_and_the_worker_ends(
    kind: JobKind, error: Exception, workshop: Workshop, user_id: str, images: list[str], break_network: Break
) -> None:
    job_id, work = add_job(workshop, user_id, images, kind)
    break_network(error)
    run(workshop, job_id, work)
    job = job_of(workshop, job_id)
    assert (job.status, job.attempt, job.error_code) == (JobStatus.QUEUED, 1, None)
    assert workshop.stopping.is_set() and workshop.broken.is_set()
    if kind == JobKind.SEGMENTATION:
        assert {item.status for item in items_of(workshop, job_id).values()} == {ItemStatus.PENDING}, "no photo's fault"


@pytest.mark.parametrize("kind", list(JobKind))
def test_a_job_that_takes_every_workers_device_away_ends(
    kind: JobKind, workshop: Workshop, user_id: str, images: list[str], break_network: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Workshop, "give_up", lambda _: None)  # each attempt is another worker's
    job_id, work = add_job(workshop, user_id, images, kind)
    break_network(LOST[0])
    require_three_attempts(workshop, job_id, work, "device_lost")


def test_the_process_ends_so_that_it_is_started_again(workshop: Workshop, user_id: str, images: list[str], break_network: Break) -> None:
    break_network(LOST[0])
    jobs = [add_job(workshop, user_id, images, kind)[0] for kind in (JobKind.SEGMENTATION, JobKind.SEGMENTATION)]
    for job_id in jobs:
        queue.enqueue(workshop.settings.redis_url, JobKind.SEGMENTATION, job_id)
    impatience = threading.Timer(PATIENCE_SECONDS, workshop.stopping.set)
    impatience.start()
    assert work_until_stopped(workshop, [JobKind.SEGMENTATION]) == EXIT_TRY_AGAIN
    impatience.cancel()
    assert sorted(job_of(workshop, job_id).attempt for job_id in jobs) == [0, 1], "it takes no other job with it"
