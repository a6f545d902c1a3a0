"""A decoder that stands still, seen by a caller: the photo gets its code in time, and others do not wait for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from app.settings import Settings
from tests.app.hostile.server import RunningApi, running_api
from tests.app.photos import jpeg

SECONDS = 5.0
# Were the API held up by the decoder, one request at most would be on its way meanwhile.
SURELY_NOT_HELD_UP = 5


@pytest.fixture
def running(settings: Settings, tmp_path: Path) -> Iterator[RunningApi]:
    with running_api(settings.model_copy(update={"decoding_seconds": SECONDS}), tmp_path / "api.log") as api:
        yield api


def decoders(running: RunningApi) -> list[psutil.Process]:
    return [child for child in running.process.children() if "app.decoding" in child.cmdline()]


def test_a_decoder_that_stands_still_costs_its_photo_and_nobody_else(running: RunningApi) -> None:
    with running.client() as client, running.client() as neighbour, ThreadPoolExecutor(1) as thread:
        user_id = client.post("/v1/users").json()["id"]
        images = f"/v1/users/{user_id}/images"

        def upload(seed: int) -> dict[str, str]:
            (result,) = client.post(images, files=[("files", (f"{seed}.jpg", jpeg(seed=seed)))]).json()["results"]
            return dict(result)

        first = upload(1)
        (decoder,) = decoders(running)
        os.kill(decoder.pid, signal.SIGSTOP)

        started = time.monotonic()
        stuck = thread.submit(upload, 2)
        time.sleep(1.0)
        answered = 0
        while not stuck.done():
            listed = neighbour.get(images)
            assert [image["id"] for image in listed.json()["items"]] == [first["image_id"]]
            answered += not stuck.done()

        result = stuck.result()
        assert (result["status"], result["code"]) == ("rejected", "decoding_timeout")
        assert f"{SECONDS:g} s" in result["reason"]
        assert time.monotonic() - started >= SECONDS
        assert answered >= SURELY_NOT_HELD_UP
        assert not psutil.pid_exists(decoder.pid)
        assert upload(2)["status"] == "stored"
        assert [again.pid for again in decoders(running)] != [decoder.pid]
