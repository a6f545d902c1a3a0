"""The table at the end: fault, times, lost, doubled, half-written, seconds to recover."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from tests.faults.checks import Findings


@dataclass
class Line:
    """One fault on one database, as often as it was done."""

    fault: str
    database: str
    times: int = 0
    seconds: list[float] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)

    def recovered(self, seconds: float) -> None:
        """Count one more; `seconds` from the fault's end to what the fault's file says."""
        self.times += 1
        self.seconds.append(seconds)

    def cells(self) -> tuple[str, ...]:
        counts = (self.times, len(self.findings.lost), len(self.findings.doubled), len(self.findings.half_written))
        median = f"{statistics.median(self.seconds):.1f}" if self.seconds else "–"
        longest = f"{max(self.seconds):.1f}" if self.seconds else "–"
        return (self.fault, self.database, *map(str, counts), median, longest)


HEADINGS = ("fault", "database", "times", "lost", "doubled", "half-written", "recovery s", "longest s")


def rendered(lines: list[tuple[str, ...]]) -> list[str]:
    """The table of these lines' cells in Markdown, so that it can be pasted into a document."""
    rows = [HEADINGS, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    padded = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows]
    return [padded[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *padded[1:]]
