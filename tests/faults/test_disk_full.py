"""No room left while a model's file is written. Recovery: from the first free byte until an adaptation has succeeded."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.client import ServerFailed, TooLarge
from app.tables import JobStatus
from tests.faults.deployment import Deployment
from tests.faults.marks import on_both_when_long
from tests.faults.work import Start

# Enough for the first part of a model's file, not for all of it.
ROOM_BYTES = 24 * 1024
ENOUGH_SECONDS = 15.0
"""To learn something and come as far as writing it, beside other tests."""


@on_both_when_long
def test_the_disk_is_full_when_the_model_is_written(service: Deployment, start: Start) -> None:
    if not os.path.ismount(service.folder / "blobs"):
        pytest.skip("A small disk can be mounted by root only.")
    work = start("disk full at the model's file", service)
    user = work.user()
    with filled(service.folder / "blobs"):
        ended = work.await_ended(work.adapt(user, ENOUGH_SECONDS))
        assert (ended.status, ended.error_code) == (JobStatus.FAILED, "storage_full")
        assert "no room" in (ended.error_reason or "")
        assert user.models() == []
        other = service.new_user()
        with pytest.raises((TooLarge, ServerFailed)) as refused:
            other.upload([_large_photo(service.folder)])
        assert refused.value.code == "storage_full"
        assert other.images() == []
    freed = time.monotonic()
    assert work.await_ended(work.adapt(user, ENOUGH_SECONDS)).status == JobStatus.SUCCEEDED
    work.line.recovered(time.monotonic() - freed)
    work.examine(expected_codes=["storage_full"])
    service.await_ready()


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Leave next to nothing free on this disk."""
    filler = folder / "filler"
    try:
        with filler.open("wb") as target:
            free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
            os.posix_fallocate(target.fileno(), 0, free - ROOM_BYTES)
        yield
    finally:
        filler.unlink()


def _large_photo(folder: Path) -> Path:
    from PIL import Image

    path = folder / "noise.png"
    Image.frombytes("RGB", (200, 200), os.urandom(200 * 200 * 3)).save(path)
    return path
