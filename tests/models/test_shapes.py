"""The annotated shapes are checked: in the tests' own process, and of the innermost layers in one of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from jaxtyping import TypeCheckError

from models.losses import pixel_entropy
from tests.shapes import ROOT

PASS = """
from tests.shapes import check_shapes
check_shapes(left_out=frozenset())
import models, pytest, torch
from jaxtyping import TypeCheckError
from models.bases.layers import convolve

network = models.load_base("espnetv2_tiny").segmenter.base
photos = torch.randn(2, 3, 64, 96).to(memory_format=torch.channels_last).requires_grad_()
for trained in (False, True):
    network.train(trained)
    network(photos).logits.square().mean().backward()
with pytest.raises(TypeCheckError):
    convolve(photos[0], torch.zeros(4, 3, 3, 3))
"""


def test_shapes_are_checked_in_these_tests() -> None:
    with pytest.raises(TypeCheckError):
        pixel_entropy(torch.zeros(3, 4))


def test_the_layers_keep_their_annotated_shapes() -> None:
    """They are not checked elsewhere (`tests.shapes.INNERMOST`)."""
    done = subprocess.run([sys.executable, "-c", PASS], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
