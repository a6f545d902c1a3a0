"""How the processes of cells keep their memory and share the cores."""

import os
import subprocess
import sys

import pytest

from benchmarks import runner
from benchmarks.runner import ALLOCATOR, KEEPING, allocator_of, share_of_cores
from workers import memory

BLOCKS = """
import resource, torch
block = torch.zeros(64 * 2**18)  # 64 MB
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    block = block + 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 64 * 2**20 // 4096


def test_a_cell_of_ours_keeps_memory_as_a_worker_does() -> None:
    assert {
        "MALLOC_MMAP_THRESHOLD_": str(memory._LARGE_BLOCK_BYTES),
        "MALLOC_TRIM_THRESHOLD_": str(memory._KEPT_BYTES),
    } == ALLOCATOR
    assert allocator_of("ours") == allocator_of("ours_no_context") == ALLOCATOR
    assert allocator_of("fda") == allocator_of("source_only") == KEEPING


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's variables")
def test_a_cell_of_the_survey_gives_no_block_back() -> None:
    """Forty times a new block of 64 MB: the workers' settings map each anew, the survey's a few (seven were seen)."""
    faults = {name: _page_faults(variables) for name, variables in (("ours", ALLOCATOR), ("survey", KEEPING))}
    assert faults["ours"] > 35 * PAGES
    assert faults["survey"] < 12 * PAGES


def test_cells_side_by_side_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.os, "cpu_count", lambda: 8)
    monkeypatch.delattr(runner.os, "process_cpu_count", raising=False)
    assert share_of_cores(1) == {}
    assert [share_of_cores(jobs)["OMP_NUM_THREADS"] for jobs in (2, 3, 8, 16)] == ["4", "2", "1", "1"]


def _page_faults(variables: dict[str, str]) -> int:
    run = subprocess.run([sys.executable, "-c", BLOCKS], env=os.environ | variables, capture_output=True, text=True, check=True)
    return int(run.stdout)
