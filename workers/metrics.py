"""The metrics of one worker process, on a port of its own (`worker_metrics_port`). Labels hold kinds, stages and codes: never an id."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import structlog
import torch
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.jobs import ENDED_STATUSES
from app.settings import Settings
from app.tables import JobKind, JobStatus
from workers.cache import PersonalModelCache
from workers.failures import FAILURE_CODES

_SECONDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0)
_GAINS = (-0.1, -0.05, -0.02, -0.01, -0.005, 0.0, 0.005, 0.01, 0.02, 0.05, 0.1)
_OUTCOMES = (*ENDED_STATUSES, "handed_back", "yielded", "lost", "erased", "unknown")

log = structlog.get_logger(__name__)


class WorkerMetrics:
    """What one worker counts: process memory, jobs by stage and outcome, photos, and what the guard decided on which figures."""

    def __init__(self, models: PersonalModelCache) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        registry.register(GpuMemory())
        registry.register(ModelCacheState(models))
        self.attempts = Counter("personalseg_worker_attempts", "Jobs taken, each time that one was.", ["kind"], registry=registry)
        self.running = Gauge("personalseg_worker_jobs_running", "Jobs being done now: 0 or 1.", ["kind"], registry=registry)
        self.outcomes = Counter(
            "personalseg_worker_jobs",
            "Jobs left or closed: an end, or handed_back (SIGTERM), yielded (others' turn), lost (lease), erased, unknown (database away).",
            ["kind", "outcome"],
            registry=registry,
        )
        self.failures = Counter("personalseg_worker_job_failures", "Jobs that failed, by error code.", ["kind", "code"], registry=registry)
        self.job_seconds = Histogram(
            "personalseg_worker_job_seconds", "From taking a job to leaving it.", ["kind"], buckets=_SECONDS, registry=registry
        )
        self.stage_seconds = Histogram(
            "personalseg_worker_stage_seconds", "What a job spent in a stage.", ["kind", "stage"], buckets=_SECONDS, registry=registry
        )
        self.images = Counter(
            "personalseg_worker_images",
            "Photos of segmentations: segmented, reused (the mask was there) or failed with a code.",
            ["result", "code"],
            registry=registry,
        )
        self.verdicts = Counter(
            "personalseg_worker_guard_verdicts", "What the guard decided on a personal model.", ["accepted", "code"], registry=registry
        )
        self.changed_share = Histogram(
            "personalseg_worker_changed_share",
            "Pixels whose class the personal model changed, judged models.",
            ["accepted"],
            buckets=_SHARES,
            registry=registry,
        )
        self.consistency_gain = Histogram(
            "personalseg_worker_consistency_gain",
            "Agreement with itself on mirrored photos, personal minus base: the gain that can be estimated without a label.",
            ["accepted"],
            buckets=_GAINS,
            registry=registry,
        )
        # From the start, so that Prometheus sees the first count of each as a rise.
        for kind in JobKind:
            self.running.labels(kind)
            self.attempts.labels(kind)
            for code in FAILURE_CODES:
                self.failures.labels(kind, code)
            for outcome in _OUTCOMES:
                self.outcomes.labels(kind, outcome)

    def count_image(self, result: str, code: str = "") -> None:
        """One photo of a segmentation."""
        self.images.labels(result, code).inc()

    def job_left(self, kind: str, outcome: str, seconds: float, stages: Iterable[tuple[str, float]]) -> None:
        """A job was left, by its end or otherwise; `stages` are the seconds in each, one after the other."""
        self.outcomes.labels(kind, outcome).inc()
        self.job_seconds.labels(kind).observe(seconds)
        for stage, spent in stages:
            self.stage_seconds.labels(kind, stage).observe(spent)

    def job_closed(self, kind: str, outcome: str, code: str | None) -> None:
        """A job was closed because no worker will do it; `code` is a failed one's."""
        self.outcomes.labels(kind, outcome).inc()
        if outcome == JobStatus.FAILED:
            self.failures.labels(kind, code or "").inc()

    def judged(self, report: dict[str, Any] | None) -> None:
        """The guard's verdict in the report of an adaptation that has ended."""
        verdict = (report or {}).get("verdict")
        if not verdict:
            return
        accepted = str(bool(verdict["accepted"])).lower()
        self.verdicts.labels(accepted, verdict["code"]).inc()
        figures = verdict.get("figures", {})
        if "changed_share" in figures:
            self.changed_share.labels(accepted).observe(figures["changed_share"])
        if "consistency_after" in figures and "consistency_before" in figures:
            self.consistency_gain.labels(accepted).observe(figures["consistency_after"] - figures["consistency_before"])


class GpuMemory(Collector):
    """Memory of this process on each GPU that it uses; nothing on a machine without one."""

    def describe(self) -> Iterable[Metric]:
        """The family, so that registering it does not start CUDA."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """Allocated, reserved and highest allocated bytes, and the device's total."""
        family = self._family()
        # Only once this process computes there: to look must not take GPU memory.
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            for index in range(torch.cuda.device_count()):
                device = str(index)
                family.add_metric([device, "allocated"], torch.cuda.memory_allocated(index))
                family.add_metric([device, "reserved"], torch.cuda.memory_reserved(index))
                family.add_metric([device, "peak"], torch.cuda.max_memory_allocated(index))
                family.add_metric([device, "total"], torch.cuda.get_device_properties(index).total_memory)
        yield family

    @staticmethod
    def _family() -> GaugeMetricFamily:
        return GaugeMetricFamily("personalseg_worker_gpu_memory_bytes", "GPU memory of this process.", labels=["device", "what"])


class ModelCacheState(Collector):
    """The cache of personal models, read from its own counts."""

    def __init__(self, models: PersonalModelCache) -> None:
        self._models = models

    def collect(self) -> Iterable[Metric]:
        """Hits and misses so far, entries and bytes now."""
        counts = self._models.counts()
        asked = CounterMetricFamily("personalseg_worker_model_cache_requests", "Look-ups of personal models.", labels=["result"])
        asked.add_metric(["hit"], counts.hits)
        asked.add_metric(["miss"], counts.misses)
        yield asked
        yield GaugeMetricFamily("personalseg_worker_model_cache_entries", "Personal models in memory.", value=counts.entries)
        yield GaugeMetricFamily("personalseg_worker_model_cache_bytes", "Memory of those.", value=counts.byte_size)


def serve_metrics(metrics: WorkerMetrics, settings: Settings) -> None:
    """Answer Prometheus on the worker's own port, from a daemon thread; a port that is taken is logged, and the jobs go on."""
    if not settings.worker_metrics_port:
        return
    try:
        start_http_server(settings.worker_metrics_port, settings.worker_metrics_host, registry=metrics.registry)
    except OSError as error:
        log.error("worker.metrics_not_served", port=settings.worker_metrics_port, reason=str(error))
