"""Metrics of the whole deployment, read from the rows: every API process tells the same, so take the maximum of them.

And the room on its disk, of which the least of them counts.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from app.checks import Foundations, workers_by_queue
from app.clock import utc_now
from app.observability import repository
from app.remembered import Remembered
from app.tables import JobKind, JobStatus

_ROWS_SECONDS = 5.0
_CHECKS_SECONDS = 15.0

log = structlog.get_logger(__name__)


class ServiceState(Collector):
    """Jobs, queue, workers, and what the service stands on."""

    def __init__(self, foundations: Foundations, *, rows_seconds: float = _ROWS_SECONDS, checks_seconds: float = _CHECKS_SECONDS) -> None:
        self._foundations = foundations
        self._rows = Remembered(rows_seconds, self._read_rows)
        self._checks = Remembered(checks_seconds, lambda: foundations.ask(("database", "redis", "storage")))

    def describe(self) -> Iterable[Metric]:
        """Nothing: a registry would otherwise collect once to learn the names."""
        return []

    def collect(self) -> Iterable[Metric]:
        """The families; those of the rows are missing while the database does not answer."""
        up = GaugeMetricFamily("personalseg_dependency_up", "Whether this part answers (1) or not (0).", labels=["dependency"])
        checks = self._checks()
        for name, check in checks.items():
            up.add_metric([name], float(check.ok))
        yield up
        yield from self._disk()
        if not checks["database"].ok:  # a scrape that waits for it once more comes too late
            return
        try:
            yield from self._rows()
        except SQLAlchemyError as error:
            log.warning("metrics.rows_not_read", error=str(error))

    def _disk(self) -> Iterable[Metric]:
        try:
            free, _ = self._foundations.least_room()
        except OSError as error:
            log.warning("metrics.disk_not_read", error=str(error))
            return
        yield GaugeMetricFamily(
            "personalseg_disk_free_bytes", "Bytes free on the disk with the data folder or the blobs, whichever has less.", free
        )

    def _read_rows(self) -> list[Metric]:
        now = utc_now()
        with self._foundations.database.read() as session:
            states = repository.jobs_by_state(session)
            waiting = repository.waiting(session, now)
            abandoned = repository.abandoned(session, now)
        counted = {(kind, status): count for kind, status, count in states}
        jobs = GaugeMetricFamily("personalseg_jobs", "Jobs in the database.", labels=["kind", "status"])
        depth = GaugeMetricFamily("personalseg_queue_depth", "Jobs that a worker could take now.", labels=["kind"])
        oldest = GaugeMetricFamily(
            "personalseg_queue_oldest_seconds", "How long the first of those has waited; 0 when none waits.", labels=["kind"]
        )
        silent = GaugeMetricFamily("personalseg_jobs_abandoned", "Running jobs whose worker is silent past its lease.", labels=["kind"])
        alive = GaugeMetricFamily("personalseg_workers_alive", "Workers heard from lately, by the jobs they do.", labels=["kind"])
        workers = workers_by_queue(self._foundations.database, self._foundations.settings)
        for kind in JobKind:
            count, since = waiting.get(kind, (0, now))
            for status in JobStatus:
                jobs.add_metric([kind, status], counted.get((kind, status), 0))
            depth.add_metric([kind], count)
            oldest.add_metric([kind], max(0.0, (now - since).total_seconds()))
            silent.add_metric([kind], abandoned.get(kind, 0))
            alive.add_metric([kind], workers[kind])
        return [jobs, depth, oldest, silent, alive]
