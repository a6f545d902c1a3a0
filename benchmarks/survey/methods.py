"""The table of methods: what is run, with how many seeds, and what is there only to try the guard."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.survey.interface import Method
from benchmarks.survey.ours import Ours
from benchmarks.survey.source_only import SourceOnly

BASE = "source_only"
"""The row that all others are measured against."""


@dataclass(frozen=True)
class Entry:
    """A row of the benchmark."""

    method: Method
    title: str
    seeds: int = 1
    """Seeds of the full run: 0, 1, …"""
    for_guard_only: bool = False
    """Meant to go wrong, or run on junk: only the guard's table reads it."""
    ours: bool = False
    short: bool = True
    """Whether the short form runs it, too."""


def _table(*entries: Entry) -> dict[str, Entry]:
    return {entry.method.name: entry for entry in entries}


METHODS: dict[str, Entry] = _table(
    Entry(SourceOnly(), "base (source only)"),
    Entry(Ours("ours"), "ours", seeds=3, ours=True),
)
