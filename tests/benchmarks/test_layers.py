import json
from pathlib import Path

import torch
from typer.testing import CliRunner

import models
from benchmarks.layers import main, of_torchs_own, typer
from models.bases.layers import PReLU


def test_the_network_of_torchs_own_modules_says_the_same(tiny: models.Base) -> None:
    plain, x = of_torchs_own(tiny.segmenter.base), torch.randn(1, 3, 96, 96)
    assert not any(isinstance(module, PReLU) for module in plain.modules())
    assert any(isinstance(module, PReLU) for module in tiny.segmenter.base.modules())  # the base itself is as it was
    with torch.no_grad():
        torch.testing.assert_close(plain(x).logits, tiny.segmenter.base(x).logits, rtol=1e-3, atol=1e-4)


def test_both_are_measured(tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["--base", "espnetv2_tiny", "--rounds", "1", "--out", str(tmp_path / "layers.json")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "layers.json").read_text())
    assert set(found) == {"plain pass", "training step"}
    assert all(seconds > 0 for medians in found.values() for seconds in medians.values())
