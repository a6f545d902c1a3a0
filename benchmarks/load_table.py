"""What a load measured: times by operation, what failed, and the table of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_HEADINGS = ("operation", "answers", "a second", "p50 ms", "p95 ms", "p99 ms", "longest ms", "busy", "failed")


@dataclass
class Answers:
    """Seconds of every answer, by operation."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    busy_counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    phases: dict[str, float] = field(default_factory=dict)

    def took(self, what: str, seconds: float) -> None:
        """One answer."""
        self.seconds.setdefault(what, []).append(seconds)

    def busy(self, what: str) -> None:
        """The service asked to come again."""
        self.busy_counts[what] += 1

    def failed(self, what: str, how: str) -> None:
        """An answer that is an error, or none."""
        self.failures[what, how] += 1

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Times how long a part of the load lasted."""
        started = time.perf_counter()
        yield
        self.phases[name] = time.perf_counter() - started


def percentile(values: list[float], share: float) -> float:
    """The smallest of the values that at least this share of them do not exceed; of an empty list NaN."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)] if ordered else float("nan")


def rendered(answers: Answers) -> str:
    """The table in Markdown, then how long the phases took and what failed."""
    rows = [_HEADINGS, *(_row(answers, what) for what in answers.seconds)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    lines += [f"{name}: {seconds:.1f} s" for name, seconds in answers.phases.items()]
    lines += [f"failed: {what}: {how}: {count}" for (what, how), count in sorted(answers.failures.items())]
    return "\n".join(lines)


def _row(answers: Answers, what: str) -> tuple[str, ...]:
    seconds = answers.seconds[what]
    # A phase is named as its operations begin.
    lasted = answers.phases.get(what.split(":")[0])
    rate = f"{len(seconds) / lasted:.1f}" if lasted else "–"
    times = (f"{1000 * value:.0f}" for value in (*(percentile(seconds, share) for share in (0.5, 0.95, 0.99)), max(seconds)))
    failed = sum(count for (operation, _), count in answers.failures.items() if operation == what)
    return (what, str(len(seconds)), rate, *times, str(answers.busy_counts[what]), str(failed))
