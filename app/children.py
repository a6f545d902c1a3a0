"""Child processes: started with a log file each, started again when they die, stopped together."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from app import keeper
from app.setting_errors import EXIT_CANNOT_START

_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0
_HEALTHY_AFTER_SECONDS = 30.0
_LOOK_SECONDS = 0.1
_LARGEST_LOG_BYTES = 20 * 1024 * 1024
_TAIL_LINES = 15
_HOPELESS_DEATHS = 3

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Program:
    """What to run as a child; `name` is also the name of its log file."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


class Child:
    """One program and, most of the time, its running process."""

    def __init__(self, program: Program, log_path: Path) -> None:
        self.program = program
        self.log_path = log_path
        self.process: subprocess.Popen[bytes] | None = None
        self.pause_seconds = _FIRST_PAUSE_SECONDS
        self.started_at = 0.0
        self.start_again_at = 0.0
        self.early_deaths = 0
        self.refuses = False

    @property
    def name(self) -> str:
        """The program's name."""
        return self.program.name

    def start(self) -> int:
        """Run the program; returns the process id."""
        self.bound_log()
        with self.log_path.open("ab") as sink:
            # A session of its own: Ctrl-C in the terminal reaches the parent only, which stops the children in order.
            self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                list(self.program.command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=dict(self.program.environment),
                start_new_session=True,
            )
        self.started_at = time.monotonic()
        return self.process.pid

    def plan_restart(self, exit_code: int | None) -> None:
        """Decide when to start again: at once after a long life, later and later after short ones."""
        now = time.monotonic()
        self.refuses = exit_code == EXIT_CANNOT_START
        self.early_deaths += 1
        if now - self.started_at > _HEALTHY_AFTER_SECONDS:
            self.pause_seconds, self.early_deaths = _FIRST_PAUSE_SECONDS, 0
        self.start_again_at = now + self.pause_seconds
        self.pause_seconds = min(self.pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    def bound_log(self) -> None:
        """Move what a log that has grown too large holds to `.log.1`."""
        with suppress(OSError):
            if self.log_path.stat().st_size <= _LARGEST_LOG_BYTES:
                return
            try:
                # Copied, not renamed: the process goes on writing into the file that it has open.
                shutil.copyfile(self.log_path, self.log_path.with_suffix(".log.1"))
            except OSError as error:
                log.warning("child.log_not_kept", child=self.name, error=str(error))
            # Opened for appending, so the next line is the first one of the file.
            os.truncate(self.log_path, 0)

    def tail(self) -> str:
        """The last lines of the log."""
        with suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-_TAIL_LINES:])
        return ""


class Supervisor:
    """Keeps children running until `stop`; tells the keeper of each, so that none outlives this process."""

    def __init__(self, log_folder: Path, on_death: Callable[[str, int], None]) -> None:
        self._log_folder = log_folder
        self._on_death = on_death
        self._children: list[Child] = []
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._keeper = _start_keeper()

    def start(self, program: Program) -> Child:
        """Run a program and keep it running."""
        child = Child(program, self._log_folder / f"{program.name}.log")
        with self._lock:
            self._children.append(child)
            self._run(child)
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
            self._thread.start()
        return child

    def pids(self) -> dict[str, int]:
        """Process ids of the children that run now, by name."""
        with self._lock:
            return {child.name: child.process.pid for child in self._children if child.process is not None}

    def hopeless(self) -> Child | None:
        """A child that asked not to be started again, or that died at once again and again; None when all may work."""
        with self._lock:
            for child in self._children:
                if child.refuses or child.early_deaths >= _HOPELESS_DEATHS:
                    return child
        return None

    def remove_at_end(self, folder: Path) -> None:
        """Let the keeper remove this folder should this process be killed."""
        self._tell_keeper(f"@{folder}")

    def stop(self, grace_seconds: float) -> None:
        """Stop all children: SIGTERM in the reverse order of their start, SIGKILL after the grace."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        deadline = time.monotonic() + grace_seconds
        with self._lock:
            # The first one started (Redis) is what the others stand on: it goes last.
            for group in (self._children[1:], self._children[:1]):
                _stop_all([child.process for child in group if child.process is not None], deadline)
            self._children.clear()
        _close_keeper(self._keeper)

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            with self._lock:
                for child in self._children:
                    self._look_at(child)

    def _look_at(self, child: Child) -> None:
        child.bound_log()
        if child.process is not None:
            code = child.process.poll()
            if code is not None:
                self._note_death(child, child.process.pid, code)
        elif not child.refuses and time.monotonic() >= child.start_again_at:
            self._run(child)

    def _note_death(self, child: Child, pid: int, code: int) -> None:
        child.process = None
        self._tell_keeper(f"-{pid}")
        child.plan_restart(code)
        log.warning("child.died", child=child.name, pid=pid, exit_code=code, log=str(child.log_path))
        try:
            self._on_death(child.name, pid)
        except Exception:
            log.exception("child.death_not_handled", child=child.name)

    def _run(self, child: Child) -> None:
        if self._stopping.is_set():
            return
        try:
            self._tell_keeper(f"+{child.start()}")
        except OSError:
            log.exception("child.not_started", child=child.name)
            child.plan_restart(None)

    def _tell_keeper(self, line: str) -> None:
        assert self._keeper.stdin is not None
        with suppress(OSError):
            self._keeper.stdin.write(f"{line}\n".encode())
            self._keeper.stdin.flush()


def _start_keeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - the command is ours
        [sys.executable, "-I", "-S", str(Path(keeper.__file__).resolve())],
        stdin=subprocess.PIPE,
        start_new_session=True,
        env=dict(os.environ),
    )


def _close_keeper(process: subprocess.Popen[bytes]) -> None:
    # Its children are gone, so it ends at once.
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    try:
        process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _stop_all(processes: Sequence[subprocess.Popen[bytes]], deadline: float) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            process.terminate()
    for process in processes:
        try:
            process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
