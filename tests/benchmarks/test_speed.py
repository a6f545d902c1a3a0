import json
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.speed import main, typer


def test_every_candidate_is_measured_on_the_tiny_base(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["--base", "espnetv2_tiny", "--photos", "2", "--out", str(tmp_path / "speed.json")])
    assert result.exit_code == 0, result.output
    medians = json.loads((tmp_path / "speed.json").read_text())
    assert next(iter(medians)) == "base, plain pass"
    assert len(medians) == 5
    assert all(seconds > 0 for seconds in medians.values())
