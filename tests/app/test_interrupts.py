"""SIGTERM and a lost terminal, taken like Ctrl-C; with `personalize` as a process, whose child is still importing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

from app.cli import app
from app.interrupts import end_as_by_ctrl_c
from tests.interrupts import heed_interrupts
from tests.waiting import within

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="a terminal's signals")


def _not_taken(*_: object) -> None:
    raise AssertionError("nobody takes this signal")


@pytest.fixture
def handlers() -> Iterator[None]:
    """Those of the process that runs the tests come back; meanwhile a signal that is not taken does not end it."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGHUP, _not_taken)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
def test_a_second_hang_up_does_not_break_the_tidying_up() -> None:
    end_as_by_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)


@pytest.mark.usefixtures("handlers")
def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    end_as_by_ctrl_c()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize(
    ("before", "after"), [(signal.SIG_IGN, signal.SIG_IGN), (_not_taken, signal.default_int_handler)], ids=["in the background", "else"]
)
def test_ctrl_c_is_asked_for_unless_a_script_lets_it_pass(before: Any, after: Any) -> None:
    signal.signal(signal.SIGINT, before)
    end_as_by_ctrl_c()
    assert signal.getsignal(signal.SIGINT) == after


@pytest.mark.usefixtures("handlers")
def test_a_demo_takes_a_hang_up_like_ctrl_c(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("app.local.Deployment", lambda *_arguments, **_settings: signal.raise_signal(signal.SIGHUP))
    done = CliRunner().invoke(app, ["demo"])
    assert (done.exit_code, done.stderr) == (130, "Stopped; nothing was written.\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_personalize_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"never read")
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", "personalize", "photos", "-o", "out"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )
    parent = psutil.Process(process.pid)
    assert within(60, lambda: bool(list(tmp_path.glob(".out-*")) and parent.children()))
    (child,) = parent.children()
    process.send_signal(number)  # to the parent alone
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "Stopped; nothing was written.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
    assert not child.is_running()


def heed_signals() -> None:
    heed_interrupts()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
