from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import models
from models.preprocess import shrink
from models.selftraining import RunningMean, TrainingSet, is_finite, self_train, step_back

CONFIG = models.PersonalizeConfig(epochs=2, group_size=2)


@pytest.fixture(scope="module")
def data(photos) -> TrainingSet:
    pixels = torch.stack([shrink(photo, 128) for photo in photos[:4]])
    labels = torch.full((len(pixels), 64, 64), 255, dtype=torch.uint8)
    labels[:, :32], labels[:, 48:] = 15, 0
    return TrainingSet(pixels, labels, np.array([0, 0, 1, 1][: len(pixels)]), 128)


def trained(tiny: models.Base, data: TrainingSet, config: models.PersonalizeConfig, stop_after: int = 10**6) -> torch.nn.Module:
    import copy

    segmenter = copy.deepcopy(tiny.segmenter)
    steps: list[int] = []
    self_train(
        segmenter, data, config, device=tiny.device,
        out_of_time=lambda: len(steps) >= stop_after, on_step=lambda step, _: steps.append(step),
    )  # fmt: skip
    return segmenter


def distance(first: nn.Module, second: nn.Module) -> float:
    return sum(float((a - b).square().sum()) for a, b in zip(first.parameters(), second.parameters(), strict=True)) ** 0.5


def test_weights_move_and_batch_norm_statistics_stay(tiny: models.Base, data: TrainingSet) -> None:
    after = trained(tiny, data, CONFIG)
    assert distance(after, tiny.segmenter) > 0
    stored = tiny.segmenter.state_dict()
    for name, value in after.state_dict().items():
        if "running" in name:
            assert torch.equal(value, stored[name]), name


def test_the_running_mean_by_hand() -> None:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)
    mean = RunningMean(module, 0.75)
    for weight in (2.0, 4.0):
        nn.init.constant_(module.weight, weight)
        mean.add(module)
    mean.copy_to(module)
    assert float(module.weight) == pytest.approx(0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 4)


def test_a_mean_teacher_stays_nearer_to_the_base(tiny: models.Base, data: TrainingSet) -> None:
    last, mean = trained(tiny, data, CONFIG), trained(tiny, data, replace(CONFIG, teacher_decay=0.9))
    assert 0 < distance(mean, tiny.segmenter) < distance(last, tiny.segmenter)


def test_an_anchor_holds_the_unlabelled_pixels(tiny: models.Base, data: TrainingSet) -> None:
    def drift(segmenter: nn.Module) -> float:
        from models.preprocess import normalize

        x = normalize(data.pixels)
        with torch.no_grad():
            before, after = tiny.segmenter(x).logits.softmax(1), segmenter(x).logits.softmax(1)
        middle = slice(before.shape[2] // 2, 3 * before.shape[2] // 4)  # the rows without labels
        return float((before - after)[:, :, middle].abs().mean())

    fast = replace(CONFIG, learning_rate=1e-3, strong_views=False)
    assert drift(trained(tiny, data, replace(fast, anchor_weight=20.0))) < drift(trained(tiny, data, fast))


def test_out_of_time_keeps_what_was_learned(tiny: models.Base, data: TrainingSet) -> None:
    one, all_steps = trained(tiny, data, CONFIG, stop_after=1), trained(tiny, data, CONFIG)
    assert distance(one, tiny.segmenter) > 0
    assert distance(one, all_steps) > 0


def test_stepping_back_by_hand() -> None:
    start, end = nn.Linear(1, 1), nn.Linear(1, 1)
    nn.init.constant_(start.weight, 1.0)
    nn.init.constant_(end.weight, 3.0)
    step_back(end, start, 0.25)
    assert float(end.weight) == 1.5
    assert float(start.weight) == 1.0


def test_a_weight_that_is_no_number_is_seen() -> None:
    module = nn.Linear(2, 2)
    assert is_finite(module)
    with torch.no_grad():
        module.weight[0, 0] = float("inf")
    assert not is_finite(module)
