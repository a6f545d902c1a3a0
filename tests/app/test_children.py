"""The children of `personalseg serve`: their logs stay small while they run."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from app import children
from app.children import Program, Supervisor

LARGEST = 20_000
TALKS = """
import sys, time
for number in range(4000):
    print(f"line {number:06d} of a process that says a lot", file=sys.stderr, flush=True)
    time.sleep(0.001)
open(sys.argv[1], "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize("is_kept", [True, False])
def test_the_log_of_a_running_child_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool) -> None:
    monkeypatch.setattr(children, "_LARGEST_LOG_BYTES", LARGEST)
    log, older, ended = tmp_path / "talker.log", tmp_path / "talker.log.1", tmp_path / "ended"
    if not is_kept:
        older.mkdir()  # what cannot be kept goes, as on a full disk
    supervisor = Supervisor(tmp_path, lambda _name, _pid: None)
    try:
        supervisor.start(Program("talker", [sys.executable, "-c", TALKS, str(ended)], {}))
        (pid,) = supervisor.pids().values()
        deadline = time.monotonic() + 60
        while not (ended.exists() and log.stat().st_size <= LARGEST) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert ended.exists() and supervisor.pids() == {"talker": pid}
    finally:
        supervisor.stop(2.0)
    last = log.read_bytes()
    assert len(last) <= LARGEST and b"\0" not in last
    if is_kept:
        assert len(older.read_bytes()) > LARGEST
        assert b"line 003999" in older.read_bytes() + last
