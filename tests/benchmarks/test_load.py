"""The load's table: percentiles and failures by hand."""

from __future__ import annotations

import math

from benchmarks.load_table import Answers, percentile, rendered


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50.0, 95.0, 99.0, 100.0]
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_the_table_tells_times_rates_and_failures() -> None:
    answers = Answers()
    for seconds in (0.010, 0.020, 0.030):
        answers.took("upload", seconds)
    answers.phases["upload"] = 2.0
    answers.busy("upload")
    answers.failed("upload", "500")
    lines = rendered(answers).splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == ["upload", "3", "1.5", "20", "30", "30", "30", "1", "1"]
    assert lines[3:] == ["upload: 2.0 s", "failed: upload: 500: 1"]
