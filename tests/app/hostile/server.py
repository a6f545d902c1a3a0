"""The real API in a process of its own, as a deployment runs it, watched while it is attacked."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from app import auth
from app.db import Database
from app.settings import Settings
from tests.conftest import free_port

ROOT = Path(__file__).resolve().parents[3]
_START_SECONDS = 60.0


@dataclass
class Watch:
    """What was seen of the API meanwhile: seconds of each /healthz, peak bytes of its process."""

    health_seconds: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass
class RunningApi:
    """The API's process, and a service token."""

    url: str
    token: str
    process: psutil.Process

    def client(self) -> httpx.Client:
        """A caller with the service token."""
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=300, trust_env=False)

    @contextmanager
    def watched(self) -> Iterator[Watch]:
        """Ask /healthz all the time, and look at the memory."""
        watch, stopping = Watch(), threading.Event()
        thread = threading.Thread(target=self._look, args=(watch, stopping))
        thread.start()
        try:
            yield watch
        finally:
            stopping.set()
            thread.join()

    def _look(self, watch: Watch, stopping: threading.Event) -> None:
        with httpx.Client(base_url=self.url, timeout=30, trust_env=False) as client:
            while not stopping.wait(0.02):
                started = time.monotonic()
                try:
                    client.get("/healthz").raise_for_status()
                except httpx.HTTPError as error:
                    watch.failures.append(repr(error))
                watch.health_seconds.append(time.monotonic() - started)
                watch.peak_bytes = max(watch.peak_bytes, self.process.memory_info().rss)


@contextmanager
def running_api(settings: Settings, log: Path) -> Iterator[RunningApi]:
    """Start it with these settings, wait until it answers, and stop it."""
    database = Database(settings.database_url)
    with database.write() as session:
        token = auth.ensure_service_token(session)
    database.close()
    assert token is not None
    port = free_port()
    mine = {f"PERSONALSEG_{name.upper()}": str(value) for name, value in settings.model_dump(exclude_defaults=True).items()}
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--port", str(port), "--no-access-log"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **mine}, stdout=output, stderr=output)
    url = f"http://127.0.0.1:{port}"
    try:
        _await(url, process, log)
        yield RunningApi(url, token, psutil.Process(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/healthz", trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(log.read_text()[-3000:])
        time.sleep(0.1)
