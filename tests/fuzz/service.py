"""The API in a process of its own, with a user who has everything: photos, jobs, a model, masks, tokens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.local import find_redis_server
from app.main import create_app
from app.prepare import prepare
from app.settings import Settings
from tests.app import hand_worker
from tests.app.conftest import Caller, TestClient, make_user
from tests.app.test_service import register
from tests.conftest import free_port

START_SECONDS = 60.0


@dataclass(frozen=True)
class FuzzedService:
    """Where it listens, who may call it, what is there, and its log."""

    url: str
    service_token: str
    ids: dict[str, str]
    log: Path

    def statuses(self) -> Counter[tuple[str, str, int]]:
        """How often each route has answered with each status, by the service's own log."""
        counted: Counter[tuple[str, str, int]] = Counter()
        for line in self.log.read_text().splitlines():
            if line.startswith("{"):
                entry = json.loads(line)
                if entry["event"] == "request":
                    counted[entry["method"], entry["route"], entry["status"]] += 1
        return counted

    def crashes(self) -> list[str]:
        """What the service logged as unexpected."""
        entries = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [f"{entry.get('route')}: {entry.get('exception', '')[-600:]}" for entry in entries if entry["event"] == "request.failed"]


@contextmanager
def fuzzed_service() -> Iterator[FuzzedService]:
    """Start it, and stop it and all it has started."""
    with tempfile.TemporaryDirectory(prefix="pseg-fuzz-") as name:
        folder = Path(name)
        redis_command = [find_redis_server(), "--port", "0", "--unixsocket", folder / "redis.sock", "--dir", folder, "--save", ""]
        redis_process = subprocess.Popen([str(part) for part in redis_command], stdout=subprocess.DEVNULL)
        try:
            settings = _settings(folder)
            token = prepare(settings)
            ids = _fill(settings, token)
            with _api(settings, folder) as url:
                yield FuzzedService(url, token, ids, folder / "api.log")
        finally:
            redis_process.terminate()
            redis_process.wait(10)


def _settings(folder: Path) -> Settings:
    return Settings(
        data_dir=folder / "data",
        redis_url=f"unix://{folder}/redis.sock",
        log_json=True,
        segment_wait_seconds=0.05,
        max_wait_seconds=0.2,
        max_image_pixels=1_000_000,
        max_upload_file_bytes=200_000,
        auth_failures_per_minute=1_000_000,
        worker_fresh_seconds=86_400.0,
        port=free_port(),
    )


def _fill(settings: Settings, token: str) -> dict[str, str]:
    api = create_app(settings)
    with TestClient(api) as client:
        register(api.state.wiring.database)
        service = Caller(client, token)
        user = make_user(service)
        image_id = user.upload_photos(3)[0]
        adaptation = user("POST", "adaptations").json()["id"]
        version = hand_worker.adapt(api, adaptation, report={"photos": 3, "seconds": 1.5})
        segmentation = user("POST", "segmentations", json={"adapt": "never"}).json()["id"]
        hand_worker.segment(api, segmentation)
        token_id = user("POST", "tokens").json()["id"]
    return {
        "user_id": user.user_id,
        "image_id": image_id,
        "version": str(version),
        "token_id": token_id,
        "adaptation_id": adaptation,
        "segmentation_id": segmentation,
    }


@contextmanager
def _api(settings: Settings, folder: Path) -> Iterator[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERSONALSEG_")}
    for name, value in settings.model_dump(mode="json", exclude_unset=True).items():
        environment[f"PERSONALSEG_{name.upper()}"] = str(value)
    command = [sys.executable, "-m", "uvicorn", "--factory", "app.main:app_factory", "--port", str(settings.port), "--no-access-log"]
    url = f"http://127.0.0.1:{settings.port}"
    with (folder / "api.log").open("w") as log:
        process = subprocess.Popen([*command, "--no-proxy-headers"], env=environment, stderr=log, stdout=log)
        try:
            _await(url, process)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            httpx.get(f"{url}/healthz").raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.1)
