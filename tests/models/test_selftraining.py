import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import models
from models.memory import Portions
from models.preprocess import shrink
from models.selftraining import Learner, RunningMean, Soup, TrainingSet, _augmented, is_finite, self_train, step_back

CONFIG = models.PersonalizeConfig(epochs=2, runs=1, group_size=2)


@pytest.fixture(scope="module")
def data(photos) -> TrainingSet:
    pixels = torch.stack([shrink(photo, 128) for photo in photos[:4]])
    labels = torch.full((len(pixels), 64, 64), 255, dtype=torch.uint8)
    labels[:, :32], labels[:, 48:] = 15, 0
    return TrainingSet(pixels, labels, np.array([0, 0, 1, 1][: len(pixels)]), 128)


def trained(tiny: models.Base, data: TrainingSet, config: models.PersonalizeConfig, stop_after: int = 10**6) -> torch.nn.Module:
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


def run_alone(tiny: models.Base, data: TrainingSet, config: models.PersonalizeConfig, run: int, steps: int = 10**6) -> list[torch.Tensor]:
    """What the `run`-th training of several comes to, with nothing before it."""
    segmenter = copy.deepcopy(tiny.segmenter)
    learner = Learner(segmenter, config, tiny.device, Portions(1))
    epochs = range(run * config.epochs, (run + 1) * config.epochs)
    schedule = [(e, batch) for e in epochs for batch in data.batches(config.group_size, np.random.default_rng([config.seed, e]))]
    first = run * len(schedule)
    learner.losses = [[0.0]] * epochs[0]
    for number, (epoch, batch) in enumerate(schedule[:steps], first):
        learner.step(epoch, *_augmented(data, batch, np.random.default_rng([config.seed, epoch, number]), strong=True))
    return [parameter.detach() for parameter in segmenter.parameters()]


def test_the_mean_of_two_runs_is_learned(tiny: models.Base, data: TrainingSet) -> None:
    both = trained(tiny, data, replace(CONFIG, runs=2))
    first, second = run_alone(tiny, data, CONFIG, 0), run_alone(tiny, data, CONFIG, 1)
    for parameter, one, two in zip(both.parameters(), first, second, strict=True):
        torch.testing.assert_close(parameter, (one + two) / 2, rtol=1e-4, atol=1e-6)
    alone = trained(tiny, data, replace(CONFIG, runs=1))
    for parameter, one in zip(alone.parameters(), first, strict=True):
        torch.testing.assert_close(parameter, one, rtol=1e-4, atol=1e-6)


def test_a_run_that_was_cut_short_counts_by_its_steps(tiny: models.Base, data: TrainingSet) -> None:
    # Two epochs of two batches a run: four steps of the first, one of the second.
    cut = trained(tiny, data, replace(CONFIG, runs=2), stop_after=5)
    first, second = run_alone(tiny, data, CONFIG, 0), run_alone(tiny, data, CONFIG, 1, steps=1)
    for parameter, one, two in zip(cut.parameters(), first, second, strict=True):
        torch.testing.assert_close(parameter, (4 * one + two) / 5, rtol=1e-4, atol=1e-6)


def test_a_resumed_soup_is_where_the_weights_are(tiny: models.Base) -> None:
    """A checkpoint is on the CPU, the weights may be on a GPU; `meta` stands for another device."""
    config = replace(CONFIG, runs=2)
    begun = Learner(copy.deepcopy(tiny.segmenter), config, tiny.device, Portions(1))
    begun.soup.add(begun.segmenter, 3)
    section = begun.to_section()
    resumed = Learner(copy.deepcopy(tiny.segmenter), config, tiny.device, Portions(1))
    resumed.start = [weight.to("meta") for weight in resumed.start]
    resumed.restore(section)
    assert resumed.soup.steps == 3 and {total.device.type for total in resumed.soup.sums} == {"meta"}


def test_a_soup_by_hand() -> None:
    module, soup = nn.Linear(1, 1, bias=False), Soup()
    nn.init.constant_(module.weight, 7.0)
    soup.copy_to(module)
    assert float(module.weight) == 7.0  # of nothing: the weights stay
    for weight, steps in ((1.0, 2), (4.0, 1)):
        nn.init.constant_(module.weight, weight)
        soup.add(module, steps)
    soup.copy_to(module)
    assert float(module.weight) == 2.0


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
