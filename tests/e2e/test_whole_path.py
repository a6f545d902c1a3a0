"""Photos in, personal masks out, through the real service."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from app.client import Client, Job
from app.local import Deployment
from tests.e2e.conftest import within

VOC_PERSON = (192, 128, 128)


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_photos_in_personal_masks_out(client: Client, photos: list[Path]) -> None:
    uploaded = client.upload(photos)
    assert [result.status for result in uploaded] == ["stored"] * len(photos)
    seen: list[Job] = []
    adaptation = client.wait(client.adapt(budget_seconds=10), seen.append, timeout_seconds=120).require_success()
    assert adaptation.status in {"succeeded", "refused"}
    percents = [job.percent or 0.0 for job in seen]
    assert percents == sorted(percents)
    assert adaptation.report is not None and adaptation.timeline

    for model in ("personal", "base"):
        job = client.wait(client.segment("all", model=model, adapt="never"), timeout_seconds=120)
        assert job.status == "succeeded", job.error_reason
        assert {item.status for item in job.items} == {"done"}
    for path, result in zip(photos, uploaded, strict=True):
        assert result.image_id is not None
        with Image.open(path) as photo:
            size = photo.size
        mask = opened(client.mask(result.image_id, model="base"))
        assert (mask.mode, mask.size) == ("P", size)
        assert mask.getpalette()[15 * 3 : 16 * 3] == list(VOC_PERSON)  # type: ignore[index]
        assert set(np.unique(np.asarray(mask))) <= {*range(21)}
        confidence = opened(client.mask(result.image_id, model="base", format="confidence"))
        assert (confidence.mode, confidence.size) == ("L", size)
        assert opened(client.overlay(result.image_id, model="base")).size == size
    if adaptation.status == "succeeded":
        assert [(model.version, model.active) for model in client.models()] == [(1, True)]


def test_a_segmentation_that_adapts_first_waits_for_it(client: Client, photos: list[Path]) -> None:
    client.upload(photos[:3])
    job = client.segment("all", model="personal", adapt="always")
    assert job.depends_on is not None
    assert client.wait(job, timeout_seconds=400).status == "succeeded"
    assert client.job("adaptation", job.depends_on).ended


def test_a_running_adaptation_is_cancelled_within_seconds(client: Client, photos: list[Path]) -> None:
    client.upload(photos)
    job = client.adapt(budget_seconds=200)
    assert within(60, lambda: client.job("adaptation", job.id).status == "running")
    asked = time.monotonic()
    client.cancel(job)
    ended = client.wait(job, timeout_seconds=20)
    assert ended.status == "cancelled"
    assert time.monotonic() - asked < 10


def test_a_killed_worker_loses_no_adaptation(client: Client, deployment: Deployment, photos: list[Path]) -> None:
    client.upload(photos)
    job = client.adapt(budget_seconds=10)
    assert within(60, lambda: (client.job("adaptation", job.id).percent or 0) > 1)
    pid = deployment.child_pids["worker-adaptation"]
    killed = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    assert within(60, lambda: client.job("adaptation", job.id).attempt == 2)
    print(f"MEASURED recovery after SIGKILL: {time.monotonic() - killed:.1f} s")
    ended = client.wait(job, timeout_seconds=120)
    assert ended.status in {"succeeded", "refused"}, ended.error_reason
    assert ended.attempt == 2
    assert deployment.child_pids["worker-adaptation"] != pid


def test_a_killed_redis_loses_no_job(client: Client, deployment: Deployment, photos: list[Path]) -> None:
    client.upload(photos[:2])
    os.kill(deployment.child_pids["redis"], signal.SIGKILL)
    job = client.segment("all", model="base", adapt="never")
    assert client.wait(job, timeout_seconds=60).status == "succeeded"


def test_the_service_token_is_private(deployment: Deployment) -> None:
    path = deployment.data_dir / "service-token"
    assert path.read_text().strip() == deployment.service_token
    assert path.stat().st_mode & 0o777 == 0o600
    assert httpx.get(f"{deployment.base_url}/v1/bases", trust_env=False).status_code == 401


def test_a_second_worker_can_take_both_queues(deployment: Deployment) -> None:
    # What a container runs; it registers, is alive by `workers.health`, and ends with 0 on SIGTERM.
    environment = deployment._environment()
    command = [sys.executable, "-m", "workers", "--queue", "adaptation", "--queue", "segmentation"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as worker:
        assert worker.stderr is not None
        assert any(b"worker.started" in line for line in worker.stderr)
        health = subprocess.run([sys.executable, "-m", "workers.health"], env=environment)
        asked = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(10) == 0
        assert health.returncode == 0
        assert time.monotonic() - asked < 8


@pytest.mark.parametrize("name", ["redis", "worker-adaptation", "worker-segmentation", "api"])
def test_every_child_is_there(deployment: Deployment, name: str) -> None:
    assert within(30, lambda: name in deployment.child_pids and psutil.pid_exists(deployment.child_pids[name]))
