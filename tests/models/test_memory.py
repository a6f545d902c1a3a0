"""Fewer photos at once, the same result; and what happens when memory runs out."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import models
from models.bases.network import BaseNetwork
from models.memory import Portions, features_in_pieces, is_out_of_memory
from models.preprocess import normalize, shrink
from models.selftraining import TrainingSet, self_train
from models.types import Features

CONFIG = models.PersonalizeConfig(epochs=1, runs=1, group_size=4)


@pytest.fixture(scope="module")
def data(photos) -> TrainingSet:
    pixels = torch.stack([shrink(photo, 128) for photo in (*photos, *photos)[:4]])
    labels = torch.full((4, 64, 64), 255, dtype=torch.uint8)
    labels[:, :32], labels[:, 48:] = 15, 0
    return TrainingSet(pixels, labels, np.zeros(4, np.int64), 128)


class Small(BaseNetwork):
    """A network with a memory of its own: more photos than fit raise what CUDA raises."""

    def __init__(self, network: BaseNetwork, fits: int, error: Exception | None = None) -> None:
        super().__init__()
        self.network, self.fits = network, fits
        self.error = error or torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Features:
        self.batches.append(len(x))
        if len(x) > self.fits:
            raise self.error
        return self.network(x)


def learned(tiny: models.Base, data: TrainingSet, portions: Portions, network: BaseNetwork | None = None) -> nn.Module:
    segmenter = copy.deepcopy(tiny.segmenter)
    if network is not None:
        segmenter.base = network
    self_train(
        segmenter, data, CONFIG, device=tiny.device, out_of_time=lambda: False, on_step=lambda *_: None, portions=portions
    )  # fmt: skip
    return segmenter


def largest_difference(first: nn.Module, second: nn.Module) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_features_in_pieces_are_the_features(tiny: models.Base, data: TrainingSet) -> None:
    x = normalize(data.pixels)
    with torch.no_grad():
        whole = tiny.segmenter.base(x)
        for size in (1, 3, 4, 9):
            for expected, found in zip(whole, features_in_pieces(tiny.segmenter.base, x, size), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_gradients_in_pieces_are_the_gradients_of_the_whole_group(tiny: models.Base, data: TrainingSet) -> None:
    """Also those that go through the context from one photo to another."""
    found = []
    for size in (4, 1, 3):
        segmenter = copy.deepcopy(tiny.segmenter).double().requires_grad_(True)
        x = normalize(data.pixels).double()
        features = features_in_pieces(segmenter.base, x, size)
        segmenter.with_context(features)[0].square().mean().backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in segmenter.parameters() if parameter.grad is not None]))
    assert float(found[0].norm()) > 0
    for gradients in found[1:]:
        torch.testing.assert_close(gradients, found[0], rtol=1e-9, atol=1e-12)


def test_one_photo_at_a_time_trains_alike(tiny: models.Base, data: TrainingSet) -> None:
    moved = largest_difference(learned(tiny, data, Portions(4)), tiny.segmenter)
    assert largest_difference(learned(tiny, data, Portions(4)), learned(tiny, data, Portions(1))) < 0.2 * moved


@pytest.mark.parametrize(
    "error",
    [
        None,
        MemoryError(),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
    ],
)
def test_where_memory_runs_out_the_pieces_are_halved_and_it_goes_on(tiny: models.Base, data: TrainingSet, error: Exception | None) -> None:
    network = Small(copy.deepcopy(tiny.segmenter.base), fits=1, error=error)
    portions = Portions(4)
    trained = learned(tiny, data, portions, network)
    assert portions.size == 1
    assert network.batches[:2] == [4, 2]
    assert set(network.batches[2:]) == {1}
    # a failed attempt leaves nothing behind
    other = learned(tiny, data, Portions(1), Small(copy.deepcopy(tiny.segmenter.base), fits=1))
    assert largest_difference(trained, other) == 0


def test_one_photo_that_does_not_fit_ends_it(tiny: models.Base, data: TrainingSet) -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        learned(tiny, data, Portions(4), Small(copy.deepcopy(tiny.segmenter.base), fits=0))


def test_other_errors_are_not_tried_again(tiny: models.Base, data: TrainingSet) -> None:
    network = Small(copy.deepcopy(tiny.segmenter.base), fits=0, error=RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        learned(tiny, data, Portions(4), network)
    assert network.batches == [4]
    assert not is_out_of_memory(ValueError())


def test_how_many_photos_fit_by_default() -> None:
    assert Portions.fitting(torch.device("cpu"), 8).size == 1
    assert Portions.fitting(torch.device("cuda"), 8).size == 8
    assert Portions.fitting(torch.device("cpu"), 8, 3).size == 3


def test_the_work_stops_between_two_photos_also_backwards(tiny: models.Base, data: TrainingSet) -> None:
    x = normalize(data.photos(range(4)).float())
    segmenter = copy.deepcopy(tiny.segmenter).eval().requires_grad_(True)
    asked = 0

    def heed() -> None:
        nonlocal asked
        asked += 1
        if asked == stop_at:
            raise models.Cancelled

    for stop_at, expected in ((3, "forwards"), (6, "backwards")):
        asked, came = 0, "forwards"
        with pytest.raises(models.Cancelled):
            features = features_in_pieces(segmenter.base, x, 1, heed)
            came = "backwards"
            features.logits.sum().backward()
        assert (asked, came) == (stop_at, expected)
