"""The examples of docs/how-to/research.md run, on the smallest base and a few photos."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from models import load_base, segment

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "how-to" / "research.md"
LABELLED, CAT = 2, 8


def make_album(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    for index, picture in enumerate((data.chelsea(), data.astronaut(), data.coffee(), data.rocket())):
        photo = Image.fromarray(picture).resize((96, 72))
        photo.save(folder / "images" / f"{index}.jpg")
        if index < LABELLED:
            Image.fromarray(np.full((72, 96), CAT, np.uint8)).save(folder / "masks" / f"{index}.png")


def test_the_examples_run(tmp_path: Path) -> None:
    make_album(tmp_path / "album")
    example = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S))
    small = example.replace('load_base("espnetv2")', 'load_base("espnetv2_tiny")').replace("budget_seconds=240", "budget_seconds=6")
    assert "espnetv2_tiny" in small
    assert "budget_seconds=6" in small
    done = subprocess.run(
        [sys.executable, "-c", small], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    verdict, scores = done.stdout.splitlines()
    assert verdict.split()[0] in (ROOT / "docs" / "reference" / "codes.md").read_text()
    printed = re.fullmatch(r"mIoU ([\d.]+) → ([\d.]+), FBIoU ([\d.]+) → ([\d.]+)", scores)
    assert printed is not None, scores
    assert (printed[1], printed[3]) == scores_of_the_base(tmp_path / "album")
    assert all(0 <= float(score) <= 100 for score in printed.groups())


def scores_of_the_base(album: Path) -> tuple[str, str]:
    """mIoU and FBIoU in percent: of labels that are cat throughout, both are the share of the pixels called cat."""
    base = load_base("espnetv2_tiny")
    shares = []
    for index in range(LABELLED):
        with Image.open(album / "images" / f"{index}.jpg") as photo:
            shares.append(float((segment(base, np.array(photo)).labels == CAT).mean()))
    mean = f"{100 * sum(shares) / LABELLED:.1f}"  # photos of one size: the mean of the shares is that of all pixels
    return mean, mean
