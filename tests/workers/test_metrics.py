"""What a worker counts while it does real jobs with the tiny base, and what its log lines carry."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
import torch
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from app import jobs
from app.settings import Settings
from app.tables import Job, JobKind, JobStatus, User
from tests.conftest import free_port
from tests.workers.conftest import add_adaptation, add_photo, add_segmentation, job_of, photograph
from workers.adaptation import adapt_gallery
from workers.broker import make_broker
from workers.cache import ModelKey, PersonalModelCache
from workers.lease import HeldJob, hold
from workers.metrics import WorkerMetrics, serve_metrics
from workers.observed import observed
from workers.presence import sweep
from workers.segmentation import segment_photos
from workers.tasks import run
from workers.workshop import Workshop


def value(workshop: Workshop, name: str, **labels: str) -> float:
    """A sample of the worker's registry; 0 where nothing was counted."""
    return workshop.metrics.registry.get_sample_value(f"personalseg_worker_{name}", labels) or 0.0


def test_a_segmentation_is_counted(workshop: Workshop, user_id: str) -> None:
    image = add_photo(workshop, user_id, photograph("chelsea.png"))
    broken = add_photo(workshop, user_id, b"not a photo")
    run(workshop, add_segmentation(workshop, user_id, [image, broken]), segment_photos)
    run(workshop, add_segmentation(workshop, user_id, [image]), segment_photos)
    assert value(workshop, "attempts_total", kind="segmentation") == 2
    assert value(workshop, "jobs_total", kind="segmentation", outcome="succeeded") == 2
    assert value(workshop, "job_seconds_count", kind="segmentation") == 2
    assert value(workshop, "jobs_running", kind="segmentation") == 0
    assert value(workshop, "images_total", result="segmented", code="") == 1
    assert value(workshop, "images_total", result="failed", code="photo_unreadable") == 1
    assert value(workshop, "images_total", result="reused", code="") == 1
    assert value(workshop, "stage_seconds_count", kind="segmentation", stage="segmenting") == 2
    stages = value(workshop, "stage_seconds_sum", kind="segmentation", stage="loading") + value(
        workshop, "stage_seconds_sum", kind="segmentation", stage="segmenting"
    )
    assert 0 < stages <= value(workshop, "job_seconds_sum", kind="segmentation") + 0.5


def test_an_adaptation_tells_the_guards_verdict(workshop: Workshop, user_id: str) -> None:
    for name in ("chelsea.png", "astronaut.png", "coffee.png"):
        add_photo(workshop, user_id, photograph(name))
    job_id = add_adaptation(workshop, user_id, budget_seconds=600.0)
    run(workshop, job_id, adapt_gallery)
    job = job_of(workshop, job_id)
    assert job.status in (JobStatus.SUCCEEDED, JobStatus.REFUSED) and job.report is not None
    verdict = job.report["verdict"]
    accepted = str(verdict["accepted"]).lower()
    assert value(workshop, "guard_verdicts_total", accepted=accepted, code=verdict["code"]) == 1
    judged = 1 if "changed_share" in verdict["figures"] else 0
    assert value(workshop, "changed_share_count", accepted=accepted) == judged
    assert value(workshop, "consistency_gain_count", accepted=accepted) == judged


def test_failures_are_counted_by_code(workshop: Workshop, user_id: str) -> None:
    image = add_photo(workshop, user_id, photograph("chelsea.png"))
    run(workshop, add_segmentation(workshop, user_id, [image], model=7), segment_photos)
    assert value(workshop, "job_failures_total", kind="segmentation", code="unknown_model_version") == 1


def test_a_job_that_killed_its_workers_is_counted_by_whoever_closes_it(workshop: Workshop, user_id: str) -> None:
    cancelled, died = add_segmentation(workshop, user_id, []), add_adaptation(workshop, user_id)
    with workshop.database.write() as session:
        assert jobs.claim(session, cancelled, "dead", 60.0) is not None
        jobs.request_cancel(session, session.get_one(Job, cancelled))
        for _ in range(jobs.MAX_ATTEMPTS):
            assert jobs.claim(session, died, "dead", 60.0) is not None
            jobs.expire_leases_of(session, "dead")
    for _ in range(2):
        with capture_logs() as lines:
            sweep(workshop, make_broker(workshop.settings.redis_url))
    assert not [line for line in lines if line["event"] == "job.closed_without_worker"]
    assert value(workshop, "job_failures_total", kind="adaptation", code="worker_died") == 1
    assert value(workshop, "jobs_total", kind="adaptation", outcome="failed") == 1
    assert value(workshop, "jobs_total", kind="segmentation", outcome="cancelled") == 1


def test_every_count_that_an_alert_looks_at_begins_at_zero() -> None:
    """Prometheus sees no rise in a series that begins with 1."""
    read = WorkerMetrics(PersonalModelCache(1)).registry.get_sample_value
    for kind in JobKind:
        for code in ("worker_died", "storage_full", "photo_missing", "base_download_cut_off"):
            assert read("personalseg_worker_job_failures_total", {"kind": kind, "code": code}) == 0
        for outcome in (*jobs.ENDED_STATUSES, "handed_back", "yielded", "lost", "erased", "unknown"):
            assert read("personalseg_worker_jobs_total", {"kind": kind, "outcome": outcome}) == 0


def test_a_worker_tells_its_connections_to_the_database(workshop: Workshop) -> None:
    with workshop.database.read() as session:
        session.connection()
        assert workshop.metrics.registry.get_sample_value("personalseg_db_connections", {"state": "in_use"}) == 1


@pytest.mark.parametrize("outcome", ["handed_back", "lost", "erased"])
def test_what_else_may_become_of_a_job(workshop: Workshop, user_id: str, outcome: str) -> None:
    job_id = add_segmentation(workshop, user_id, [add_photo(workshop, user_id, photograph("chelsea.png"))])

    def meanwhile(workshop: Workshop, held: HeldJob) -> None:
        with workshop.database.write() as session:
            if outcome == "handed_back":
                workshop.stopping.set()
            elif outcome == "lost":
                session.get_one(Job, job_id).lease_token += 1
            else:
                session.delete(session.get_one(User, user_id))
        segment_photos(workshop, held)

    run(workshop, job_id, meanwhile)
    assert value(workshop, "jobs_total", kind="segmentation", outcome=outcome) == 1


def test_log_lines_carry_the_request_the_user_and_the_job(workshop: Workshop, user_id: str) -> None:
    with structlog.contextvars.bound_contextvars(request_id="request-1"):
        job_id = add_segmentation(workshop, user_id, [])
    assert job_of(workshop, job_id).trace == {"request_id": "request-1"}
    with hold(workshop.database, workshop.settings, job_id, "owner", workshop.stopping) as held:
        assert held is not None
        with observed(workshop, held), capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
            structlog.get_logger().info("inside")
        with workshop.database.write() as session:
            jobs.cancel(session, held.lease)
    (line,) = [line for line in lines if line["event"] == "inside"]
    assert {name: line[name] for name in ("request_id", "user_id", "job_id", "kind")} == {
        "request_id": "request-1",
        "user_id": user_id,
        "job_id": job_id,
        "kind": "segmentation",
    }
    assert "request_id" not in structlog.contextvars.get_contextvars()


def test_the_cache_of_models_tells_hits_and_misses() -> None:
    cache = PersonalModelCache(max_bytes=100)
    metrics = WorkerMetrics(cache)
    model: Any = object()
    for _ in range(3):
        cache.get(ModelKey("user", 1, "sha256"), lambda: (model, 7))
    read = metrics.registry.get_sample_value
    assert read("personalseg_worker_model_cache_requests_total", {"result": "hit"}) == 2
    assert read("personalseg_worker_model_cache_requests_total", {"result": "miss"}) == 1
    assert (read("personalseg_worker_model_cache_entries"), read("personalseg_worker_model_cache_bytes")) == (1, 7)


def test_prometheus_reads_them_over_http(tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(data_dir=tmp_path, worker_metrics_port=port)
    metrics = WorkerMetrics(PersonalModelCache(1))
    serve_metrics(metrics, settings)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        names = {family.name for family in text_string_to_metric_families(answer.read().decode())}
    assert {"process_resident_memory_bytes", "personalseg_worker_jobs", "personalseg_worker_gpu_memory_bytes"} <= names
    with capture_logs() as lines:
        serve_metrics(metrics, settings)  # the port is taken: told, and no reason to do no jobs
    assert [line["event"] for line in lines] == ["worker.metrics_not_served"]


def test_gpu_memory_is_told_only_once_the_gpu_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine has no GPU: torch's answers are put in its place."""
    metrics = WorkerMetrics(PersonalModelCache(1))
    read = metrics.registry.get_sample_value
    labels = {"device": "0", "what": "allocated"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert read("personalseg_worker_gpu_memory_bytes", labels) is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _index: 5)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _index: 7)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _index: 6)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: SimpleNamespace(total_memory=10))
    told = {
        what: read("personalseg_worker_gpu_memory_bytes", labels | {"what": what}) for what in ("allocated", "reserved", "peak", "total")
    }
    assert told == {"allocated": 5, "reserved": 7, "peak": 6, "total": 10}
