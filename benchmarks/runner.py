"""Works through cells, each in a process of its own; what is cached is not computed again, what fails is told and not cached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.cells import CellSpec, CellStore
from benchmarks.survey.methods import METHODS
from models.bases.errors import BaseNotAvailable
from models.bases.fetch import default_folder, read
from models.bases.registry import BaseInfo, available_bases

GRACE_SECONDS = 1200.0
"""Beyond its budget a cell may take so long for loading, scoring and the guard before it counts as hung."""
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(8 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20)}
"""How glibc keeps memory in a cell of ours: as in the service's workers (`workers.memory`), so that its seconds are theirs."""
KEEPING = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40), "MALLOC_TOP_PAD_": str(256 * 2**20)}
"""The same for the survey's methods, whose batches of photos take blocks of 60 MB and more: nothing is given back to the system.

Where blocks are mapped anew for each operation, page faults take half of a cell's time. The price is a larger peak memory.
"""


@dataclass(frozen=True)
class Failure:
    """A cell that could not be computed, and what its process said last."""

    spec: CellSpec
    reason: str

    def to_json(self) -> dict[str, Any]:
        """For the run's output."""
        return {"cell": self.spec.name, "reason": self.reason}


@dataclass
class Run:
    """Cells as they come in."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class Runner:
    """Where the data are, and where the cells go."""

    infos: dict[str, BaseInfo]
    """Base name → its entry as the cells' processes load it (`known_bases`), of every base that the specs name."""
    data: Path
    store: CellStore
    pss: Path | None = None
    jobs: int = 1

    def missing(self, specs: Sequence[CellSpec]) -> list[CellSpec]:
        """Those that are not cached."""
        return [spec for spec in specs if self.store.read(spec, self.infos[spec.base]) is None]

    def run(self, specs: Sequence[CellSpec], on_cell: Callable[[CellSpec, bool], None] = lambda spec, failed: None) -> Run:
        """Computes what is missing, then reads all. `on_cell` hears of each computed cell (from the calling thread)."""
        run, stop = Run(), threading.Event()
        with ThreadPoolExecutor(self.jobs) as pool:
            futures = {pool.submit(self._compute, spec, stop): spec for spec in self.missing(specs)}
            try:
                for future in as_completed(futures):
                    failure = future.result()
                    if failure is not None:
                        run.failures.append(failure)
                    on_cell(futures[future], failure is not None)
            except BaseException:  # Ctrl-C: end the children, keep what is cached
                stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        failed = {failure.spec.name for failure in run.failures}
        for spec in specs:
            cell = self.store.read(spec, self.infos[spec.base])
            if cell is not None:
                run.cells.append(cell)
            elif spec.name not in failed:
                run.failures.append(Failure(spec, "computed, but not found under its key: was code changed while it ran? Run again."))
        return run

    def _compute(self, spec: CellSpec, stop: threading.Event) -> Failure | None:
        """Starts the cell's process and waits for it; None where it went well."""
        order = {"spec": spec.to_json(), "data": str(self.data), "pss": str(self.pss) if self.pss else "", "store": str(self.store.root)}
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.cell"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parent.parent,
            env=share_of_cores(self.jobs) | os.environ | allocator_of(spec.method),
        )  # fmt: skip
        sent: str | None = json.dumps(order)
        waited = 0.0
        while True:
            try:
                _, error = child.communicate(sent, timeout=1.0)
            except subprocess.TimeoutExpired:
                sent, waited = None, waited + 1.0
                if stop.is_set() or waited > spec.budget_seconds + GRACE_SECONDS:
                    child.kill()
                    child.communicate()
                    return Failure(spec, "broken off" if stop.is_set() else f"hung: ended after {waited:.0f} s")
                continue
            return None if child.returncode == 0 else Failure(spec, _last_lines(error) or f"ended with status {child.returncode}")


def known_bases() -> dict[str, BaseInfo]:
    """Every base by its name, with the sha256 that `load_base` gives it: of the installed file where its user trains it.

    That file is read and checked; no network is built.
    """
    return {info.name: _as_installed(info) for info in available_bases()}


def _as_installed(info: BaseInfo) -> BaseInfo:
    if not info.must_be_trained:
        return info
    try:
        return replace(info, sha256=read(info, default_folder())[1])
    except BaseNotAvailable:  # none installed, or none that can be read: a cell of this base says so itself
        return info


def allocator_of(method: str) -> dict[str, str]:
    """The environment variables that rule the memory of a method's process."""
    return ALLOCATOR if METHODS[method].ours else KEEPING


def share_of_cores(jobs: int) -> dict[str, str]:
    """The environment variables that give each of so many processes its share of the cores; for what the caller's environment leaves open.

    Where each takes all cores, their threads spin while they wait for each other's: two cells on two cores took four times as long.
    """
    cores = os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count()
    return {} if jobs == 1 else {"OMP_NUM_THREADS": str(max(1, (cores or 1) // jobs)), "OMP_WAIT_POLICY": "PASSIVE"}


def _last_lines(text: str, count: int = 6) -> str:
    return "\n".join(text.strip().splitlines()[-count:])
