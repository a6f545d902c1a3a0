import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import models
from models.alignment import Aligner, AlignmentConfig, align, draw_source, random_view
from models.context import InterImageContext
from models.datasets import LabelledFolder, UnusableFile
from models.preprocess import shrink
from models.segmenter import Segmenter

CPU = torch.device("cpu")
CONFIG = AlignmentConfig(epochs=1, group_size=3, source_photos=4, describe_side=64, side=96, crop=64)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, photos: tuple[np.ndarray, ...]) -> LabelledFolder:
    root = tmp_path_factory.mktemp("source")
    for name in ("images", "masks"):
        (root / name).mkdir()
    for index, photo in enumerate((*photos, photos[0][:, ::-1])):
        small = Image.fromarray(photo).resize((120, 90))
        small.save(root / "images" / f"{index}.jpg")
        label = np.zeros((90, 120), np.uint8)
        label[20:70, 30:90], label[0] = 15, 255
        Image.fromarray(label).save(root / "masks" / f"{index}.png")
    return LabelledFolder.open(root)


@pytest.fixture(scope="module")
def pixels(photos: tuple[np.ndarray, ...]) -> torch.Tensor:
    return torch.stack([shrink(photo, 96) for photo in photos])


def groups_of(pixels: torch.Tensor) -> np.ndarray:
    return np.arange(len(pixels), dtype=np.int64) % 2


def run(tiny: models.Base, source: LabelledFolder, pixels: torch.Tensor, config: AlignmentConfig = CONFIG) -> dict[str, torch.Tensor]:
    segmenter = copy.deepcopy(tiny.segmenter)
    align(segmenter, source, pixels, groups_of(pixels), config, device=CPU)
    return segmenter.state_dict()


def test_it_learns_and_leaves_the_statistics(tiny: models.Base, source: LabelledFolder, pixels: torch.Tensor) -> None:
    network = copy.deepcopy(tiny.segmenter.base)
    segmenter = Segmenter(network, InterImageContext(network.deep_channels, network.fine_channels, 21)).eval()
    before = copy.deepcopy(segmenter.state_dict())
    align(segmenter, source, pixels, groups_of(pixels), CONFIG, device=CPU)
    after = segmenter.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert any(name.startswith("base.stem") for name in changed)
    assert any(name.startswith("context.classify") for name in changed)
    assert not any("running_" in name or "num_batches" in name for name in changed)


def test_the_same_seed_gives_the_same_weights(tiny: models.Base, source: LabelledFolder, pixels: torch.Tensor) -> None:
    first, second, other = (run(tiny, source, pixels, replace(CONFIG, seed=seed)) for seed in (0, 0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())


def test_log_steps_and_deadline(tiny: models.Base, source: LabelledFolder, pixels: torch.Tensor) -> None:
    heard: list[tuple[int, int]] = []
    segmenter = copy.deepcopy(tiny.segmenter)
    out_of_time = lambda: len(heard) == 2  # noqa: E731
    config = replace(CONFIG, epochs=2)
    log = align(
        segmenter, source, pixels, groups_of(pixels), config, device=CPU, out_of_time=out_of_time, on_step=lambda *step: heard.append(step)
    )
    assert heard == [(1, 4), (2, 4)]
    assert (log.steps, log.planned_steps) == (2, 4)
    assert log.supervised > 0
    assert 0 < log.adversarial < 1e-2
    assert log.confusion == pytest.approx(math.log(2), abs=0.1)
    assert not any(parameter.requires_grad for parameter in segmenter.parameters())


def test_without_a_step_nothing_changes(tiny: models.Base, source: LabelledFolder, pixels: torch.Tensor) -> None:
    segmenter = copy.deepcopy(tiny.segmenter)
    log = align(segmenter, source, pixels, groups_of(pixels), CONFIG, device=CPU, out_of_time=lambda: True)
    assert log.steps == 0
    assert math.isnan(log.supervised)
    assert all(torch.equal(value, segmenter.state_dict()[name]) for name, value in tiny.segmenter.state_dict().items())


def test_on_step_may_cancel(tiny: models.Base, source: LabelledFolder, pixels: torch.Tensor) -> None:
    def cancel(step: int, steps: int) -> None:
        raise models.Cancelled

    with pytest.raises(models.Cancelled):
        align(copy.deepcopy(tiny.segmenter), source, pixels, groups_of(pixels), CONFIG, device=CPU, on_step=cancel)


def test_rates_are_the_published_ones_and_decay(tiny: models.Base) -> None:
    aligner = Aligner(copy.deepcopy(tiny.segmenter), 21, CONFIG, planned=10, device=CPU)
    (group,) = aligner.optimizer.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (2.5e-3, 0.9, 5e-4)
    assert [judge.param_groups[0]["lr"] for judge in aligner.judges] == [1e-4, 1e-4]
    aligner._decay(5)
    assert group["lr"] == pytest.approx(2.5e-3 * 0.5**0.9)
    assert aligner.judges[0].param_groups[0]["lr"] == pytest.approx(1e-4 * 0.5**0.9)


def test_the_source_is_drawn_in_groups(tiny: models.Base, source: LabelledFolder) -> None:
    batches = draw_source(tiny.segmenter, source, CONFIG, CPU)
    drawn = [index for batch in batches for index in batch]
    assert len(drawn) == len(set(drawn)) == min(4, len(source))
    assert max(len(batch) for batch in batches) <= 3


def test_the_draw_can_be_cancelled_and_ends_with_the_time(tiny: models.Base, source: LabelledFolder) -> None:
    asked: list[int] = []

    def cancel() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise models.Cancelled

    with pytest.raises(models.Cancelled):
        draw_source(tiny.segmenter, source, CONFIG, CPU, heed=cancel)
    first = draw_source(tiny.segmenter, source, CONFIG, CPU, out_of_time=lambda: True)
    assert sum(len(batch) for batch in first) == 1, "one there must be"


def test_a_view_is_cropped_with_its_labels() -> None:
    # the label is the photo's red channel: after any scale, crop and flip they still agree away from edges
    labels = torch.zeros(96, 96, dtype=torch.int64)
    labels[:, 48:] = 7
    photo = labels.float()[None].repeat(3, 1, 1)
    for seed in range(5):
        view, mask = random_view(photo, labels, CONFIG, np.random.default_rng(seed))
        assert view.shape == (3, 64, 64)
        assert mask.shape == (64, 64)
        assert ((view[0] - mask).abs() > 3.6).float().mean() < 0.02


def test_a_source_photo_that_is_gone_is_told(tiny: models.Base, source: LabelledFolder, pixels: torch.Tensor) -> None:
    nowhere = source.root / "missing.jpg"
    broken = replace(
        source, photos={**source.photos, "missing": nowhere}, masks={**source.masks, "missing": nowhere}, ids=[*source.ids, "missing"]
    )
    with pytest.raises(UnusableFile, match=r"missing\.jpg"):
        align(copy.deepcopy(tiny.segmenter), broken, pixels, groups_of(pixels), replace(CONFIG, source_photos=99), device=CPU)
