"""What a worker does besides its jobs, when things are not as they should be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sqlalchemy import select

from app.tables import JobKind, Worker
from workers.__main__ import EXIT_TRY_AGAIN
from workers.presence import beat, register, tidy, unregister
from workers.workshop import Workshop


def test_a_worker_that_was_taken_for_dead_registers_again(workshop: Workshop) -> None:
    register(workshop, [JobKind.SEGMENTATION])
    unregister(workshop)
    beat(workshop, [JobKind.SEGMENTATION])
    with workshop.database.read() as session:
        (worker,) = session.scalars(select(Worker)).all()
    assert (worker.id, worker.queues) == (workshop.worker_id, ["segmentation"])


def test_files_that_a_killed_process_left_are_removed_at_their_age(workshop: Workshop, tmp_path: Path) -> None:
    workshop.storage.put_bytes("users/u/photos/whole", b"x")
    folder = tmp_path / "data" / "blobs" / ".unfinished"
    old, young = folder / "users!u!photos!old.1", folder / "users!u!photos!young.2"
    for rest in (old, young):
        rest.write_bytes(b"half")
    os.utime(old, (0, 0))
    tidy(workshop)
    assert (old.exists(), young.exists(), workshop.storage.exists("users/u/photos/whole")) == (False, True, True)


def test_a_database_that_is_away_at_the_start_is_a_reason_to_start_again(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://nobody@/nothing?host={tmp_path}"
    environment = {**os.environ, "PERSONALSEG_DATABASE_URL": url, "PERSONALSEG_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "workers", "--queue", "segmentation"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == EXIT_TRY_AGAIN, ended.stderr
    assert "cannot be reached" in ended.stderr
