"""A whole service of real processes that a fault may be done to: Redis, API, workers; started again when they die.

Nothing of `app.local` is used: as on several machines, nobody here tells the rows that a worker is dead. What brings
jobs back is the lease and the sweeper alone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from app.client import Client
from app.db import Database
from app.local import find_redis_server
from app.prepare import TOKEN_FILE, prepare
from app.setting_errors import EXIT_CANNOT_START
from app.settings import Settings
from app.storage import Storage
from tests.conftest import free_port
from tests.faults.audit import install_audit

LEASE_SECONDS = 4.0
SHORT_TIMES = {
    "lease_seconds": LEASE_SECONDS,
    "heartbeat_seconds": 1.0,
    "sweep_seconds": 1.0,
    "worker_fresh_seconds": 5.0,
    "unfinished_file_seconds": 5.0,
}
START_SECONDS = 120.0
ROOT = Path(__file__).parents[2]


class Deployment:
    """One service on `folder` and `database_url`; a context manager."""

    def __init__(self, folder: Path, database_url: str, *, workers: int = 2, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.workers = [f"worker-{number}" for number in range(workers)]
        self.settings = Settings(
            data_dir=folder,
            database_url=database_url,
            storage_url=f"file://{folder / 'blobs'}",
            redis_url=f"unix://{folder / 'redis.sock'}",
            port=free_port(),
            default_base="espnetv2_tiny",
            device="cpu",
            **SHORT_TIMES,  # type: ignore[arg-type]
        )
        self.database = Database(database_url)
        self.storage = Storage(self.settings.storage_url)
        self._environment = environment or {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._kept: set[str] = set()
        self._refused: set[str] = set()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._keep_running, daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            prepare(self.settings)
            install_audit(self.database)
            for name in ("redis", "api", *self.workers):
                self.start(name)
            self._watcher.start()
            self.await_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        with self._lock:
            for process in self._processes.values():
                process.kill()
                process.wait(10)
        self.database.close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.settings.port}"

    def new_user(self, retries: int = 5) -> Client:
        """The client of a new user; `retries`: how often it asks again where it gets no answer, or 503."""
        token = (self.folder / TOKEN_FILE).read_text().strip()
        with Client(self.base_url, token, retries=retries) as service:
            return service.for_user(service.create_user())

    # Processes

    def start(self, name: str) -> None:
        """Run this process, and run it again whenever it ends (as `restart: always` does)."""
        with self._lock:
            self._kept.add(name)
            if name not in self._processes or self._processes[name].poll() is not None:
                self._processes[name] = self._spawn(name)

    def kill(self, name: str) -> None:
        """SIGKILL; started again at once."""
        self.signal(name, signal.SIGKILL)

    def kill_for_good(self, name: str) -> None:
        """SIGKILL; stays dead until `start`."""
        with self._lock:
            self._kept.discard(name)
            self._processes[name].kill()
            self._processes[name].wait(10)

    def signal(self, name: str, number: signal.Signals) -> None:
        with self._lock:
            self._processes[name].send_signal(number)

    def pid(self, name: str) -> int:
        with self._lock:
            return self._processes[name].pid

    def worker_of(self, lease_owner: str | None) -> str | None:
        """The name of the worker whose lease this is (`hostname:pid:…`), while it runs."""
        if lease_owner is None:
            return None
        return next((name for name in self.workers if f":{self.pid(name)}:" in lease_owner), None)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def await_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until the API calls itself ready and every worker that should run has registered."""

        def all_there() -> bool:
            assert not self._refused, "\n".join(self.log(name) for name in self._refused)
            return self._ready() and self._registered() >= len(self._kept.intersection(self.workers))

        try:
            await_true(all_there, seconds)
        except AssertionError as error:
            raise AssertionError("\n".join(f"{name}: {self.log(name)[-2000:]}" for name in self._processes)) from error

    def _ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.base_url}/readyz", trust_env=False, timeout=10).status_code == httpx.codes.OK
        return False

    def _registered(self) -> int:
        alive = {self.pid(name) for name in self.workers}
        with self.database.read() as session:
            rows = session.connection().exec_driver_sql("SELECT pid FROM workers").scalars().all()
        return len(alive & set(rows))

    def _keep_running(self) -> None:
        while not self._ended.wait(0.05):
            with self._lock:
                for name in self._kept:
                    code = self._processes[name].poll()
                    if code is not None and not self._ended.is_set():
                        if code == EXIT_CANNOT_START:
                            self._refused.add(name)
                        self._processes[name] = self._spawn(name)

    def _spawn(self, name: str) -> subprocess.Popen[bytes]:
        given = self.settings.model_dump(mode="json", exclude_none=True).items()
        own = {f"PERSONALSEG_{key.upper()}": value if isinstance(value, str) else json.dumps(value) for key, value in given}
        threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
        faked = {} if name == "redis" else self._environment
        with (self.folder / f"{name}.log").open("ab") as sink:
            return subprocess.Popen(
                self._command(name),
                cwd=ROOT,
                env={**os.environ, **threads, **own, **faked},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )

    def _command(self, name: str) -> list[str]:
        if name == "redis":
            socket = str(self.folder / "redis.sock")
            return [find_redis_server(), "--port", "0", "--unixsocket", socket, "--save", "", "--dir", str(self.folder)]
        if name == "api":
            port = str(self.settings.port)
            return [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--port", port, "--no-access-log"]
        return [sys.executable, "-m", "workers", "--queue", "adaptation", "--queue", "segmentation"]


def await_true(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for the condition; the seconds that it took. Fails when it does not come true in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, f"not within {seconds:g} s: {condition}"
        time.sleep(0.05)
    return time.monotonic() - started
