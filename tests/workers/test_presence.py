"""What a worker does besides its jobs, when things are not as they should be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from dramatiq.worker import ConsumerThread
from sqlalchemy import select

from app.catalog.service import resolve
from app.clock import utc_now
from app.tables import JobKind, Token, Worker
from tests.workers.conftest import add_adaptation
from tests.workers.test_lease import within
from workers import chores
from workers.__main__ import EXIT_TRY_AGAIN, work_until_stopped
from workers.broker import make_broker
from workers.chores import forget_tokens
from workers.presence import beat, register, register_bases, sweep, tidy, unregister
from workers.workshop import Workshop


def test_a_worker_that_was_taken_for_dead_registers_again(workshop: Workshop) -> None:
    register(workshop, [JobKind.SEGMENTATION])
    unregister(workshop)
    beat(workshop, [JobKind.SEGMENTATION])
    with workshop.database.read() as session:
        (worker,) = session.scalars(select(Worker)).all()
    assert (worker.id, worker.queues) == (workshop.worker_id, ["segmentation"])


def test_a_base_that_is_installed_while_the_worker_runs_can_be_named_soon(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(workshop, [JobKind.SEGMENTATION])
    assert register_bases(workshop) == []
    name = "pspnet_resnet50"
    has_weights = type(workshop.bases).has_weights
    monkeypatch.setattr(type(workshop.bases), "has_weights", lambda self, info: info.name == name or has_weights(self, info))
    assert register_bases(workshop) == [name]
    with workshop.database.read() as session:
        assert resolve(session, workshop.settings, name) == name
    monkeypatch.undo()
    assert register_bases(workshop) == []  # another worker has it
    with workshop.database.read() as session:
        assert resolve(session, workshop.settings, name) == name


def test_files_that_a_killed_process_left_are_removed_at_their_age(workshop: Workshop, user_id: str, tmp_path: Path) -> None:
    if not workshop.settings.storage_url.startswith("file:"):
        pytest.skip("a bucket has no half files")
    whole = f"users/{user_id}/photos/whole"
    workshop.storage.put_bytes(whole, b"x")
    folder = tmp_path / "data" / "blobs" / ".unfinished"
    old, young = folder / "users!u!photos!old.1", folder / "users!u!photos!young.2"
    for rest in (old, young):
        rest.write_bytes(b"half")
    os.utime(old, (0, 0))
    tidy(workshop)
    assert (old.exists(), young.exists(), workshop.storage.exists(whole)) == (False, True, True)


def test_tokens_that_ended_long_ago_are_removed_while_the_clock_can_be_trusted(
    workshop: Workshop, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = utc_now() - timedelta(days=31)
    with workshop.database.write() as session:
        session.add_all(
            Token(user_id=user_id, kind="user", token_hash=name, prefix="pseg_usr_", expires_at=end)
            for name, end in (("good", None), ("ended", long_ago))
        )

    def held() -> set[str]:
        with workshop.database.read() as session:
            return set(session.scalars(select(Token.token_hash)))

    with monkeypatch.context() as unsettled:
        unsettled.setattr(chores, "is_settled", lambda: False)
        forget_tokens(workshop)
        assert held() == {"good", "ended"}
    forget_tokens(workshop)
    assert held() == {"good"}


def test_an_emptied_redis_is_told_again_soon(workshop: Workshop, user_id: str) -> None:
    hasty = replace(workshop, settings=workshop.settings.model_copy(update={"sweep_seconds": 0.01}))
    broker = make_broker(hasty.settings.redis_url)
    add_adaptation(hasty, user_id)
    time.sleep(0.02)
    assert sweep(hasty, broker) == 1
    time.sleep(0.02)
    assert sweep(hasty, broker) == 0, "one ring is waiting"
    broker.client.flushall()
    assert sweep(hasty, broker) == 1


def test_a_worker_whose_consumer_died_ends_so_that_it_is_started_again(workshop: Workshop) -> None:
    def let_the_consumer_die() -> None:
        assert within(60, lambda: any(isinstance(thread, ConsumerThread) for thread in threading.enumerate()))
        for thread in threading.enumerate():
            if isinstance(thread, ConsumerThread):
                thread.running = False

    threading.Thread(target=let_the_consumer_die).start()
    assert work_until_stopped(workshop, [JobKind.SEGMENTATION]) == EXIT_TRY_AGAIN
    with workshop.database.read() as session:
        assert session.scalars(select(Worker)).all() == []


def test_a_database_that_is_away_at_the_start_is_a_reason_to_start_again(tmp_path: Path) -> None:
    url = f"postgresql+psycopg://nobody@/nothing?host={tmp_path}"
    environment = {**os.environ, "PERSONALSEG_DATABASE_URL": url, "PERSONALSEG_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "workers", "--queue", "segmentation"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert ended.returncode == EXIT_TRY_AGAIN, ended.stderr
    assert "cannot be reached" in ended.stderr
