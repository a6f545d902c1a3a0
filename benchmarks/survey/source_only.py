"""No adaptation: the base's plain network as it was trained on the source set. The row that all others are measured against."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.survey.interface import Adapted, Problem


@dataclass(frozen=True)
class SourceOnly:
    """The base as it is; batch norm uses the statistics of its training."""

    name: str = "source_only"
    paper: str = ""
    needs_source: bool = False

    def adapt(self, problem: Problem) -> Adapted:
        """Nothing is changed."""
        network = problem.base.segmenter.base
        return Adapted(lambda x: network(x).logits, "unchanged")
