"""The metrics of the API process. Labels hold kinds, codes and route templates: never an id, a name or a path."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from anyio import CapacityLimiter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class ApiMetrics:
    """What one API process counts; `registry` also takes the collectors of its state. So many `scrapes` at a time."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.scrapes = CapacityLimiter(1)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter("personalseg_http_requests", "Requests answered.", ["method", "route", "status"], registry=self.registry)
        self.request_seconds = Histogram(
            "personalseg_http_request_seconds",
            "From the request's first byte to the answer's head; streams go on after that.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.requests_in_flight = Gauge("personalseg_http_requests_in_flight", "Requests not answered yet.", registry=self.registry)
        self.requests_waiting = Gauge(
            "personalseg_http_requests_waiting", "Requests and looks of event streams that wait for a thread.", registry=self.registry
        )
        self.threads = Gauge("personalseg_http_threads", "Requests that this process works on at the same moment.", registry=self.registry)
        self.uploads = Counter(
            "personalseg_uploads",
            "Uploaded files, by what became of them; `code` says why one was rejected.",
            ["status", "code"],
            registry=self.registry,
        )
        self.upload_bytes = Counter("personalseg_upload_bytes", "Bytes of uploaded files, taken or not.", registry=self.registry)
        build = Info("personalseg_build", "The version that runs.", registry=self.registry)
        build.info({"version": installed_version()})

    def watch(self, threads: CapacityLimiter) -> None:
        """Tell from now on how many wait for one of these threads."""
        self.requests_waiting.set_function(lambda: threads.statistics().tasks_waiting)
        self.threads.set_function(lambda: threads.total_tokens)

    def count_upload(self, status: str, code: str | None, byte_size: int) -> None:
        """One file of an upload; `code` is a rejection's."""
        self.uploads.labels(status, code or "").inc()
        self.upload_bytes.inc(byte_size)


def installed_version() -> str:
    """The version of the installed package; 0 in a checkout that was never installed."""
    try:
        return version("personalseg")
    except PackageNotFoundError:
        return "0"
