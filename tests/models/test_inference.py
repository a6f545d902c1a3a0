import numpy as np
import pytest
import torch

import models
from models import inference
from models.appearance import Appearance
from models.checkpoints import ContextBank
from models.inference import enlarge_labels
from models.preprocess import enlarge, normalize, shrink


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (48, 64), (301, 97)])
def test_strips_give_what_the_whole_gives(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "STRIP_VALUES", 1000)
    torch.manual_seed(0)
    logits = 3 * torch.randn(5, 12, 16)
    whole = enlarge(logits, size).softmax(0).max(0)
    labels, confidence = enlarge_labels(logits, size)
    torch.testing.assert_close(confidence, whole.values)
    assert (labels == whole.indices.to(torch.uint8)).float().mean() > 0.999  # ties within rounding


@pytest.mark.parametrize("size", [(3, 40), (1, 301)])
def test_a_very_wide_photo_is_enlarged_along_its_columns(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    logits = 3 * torch.randn(5, 12, 16)
    labels, confidence = enlarge_labels(logits, size)
    monkeypatch.setattr(inference, "STRIP_VALUES", 1000)
    monkeypatch.setattr(inference, "WIDEST", 30)
    turned = enlarge_labels(logits, size)
    assert turned[0].shape == turned[1].shape == size
    torch.testing.assert_close(turned[1], confidence)
    assert (turned[0] == labels).float().mean() > 0.99


@pytest.mark.parametrize("shape", [(1, 1), (5, 900), (900, 5), (333, 500)])
def test_a_mask_has_the_photos_own_size(tiny: models.Base, shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    result = models.segment(tiny, photo)
    assert result.labels.shape == result.confidence.shape == shape
    assert result.labels.dtype == np.uint8
    assert result.labels.max() < tiny.classes
    assert result.confidence.min() > 0
    assert result.confidence.max() <= 1


def test_a_personal_model_of_another_base_is_refused(tiny: models.Base, photos) -> None:
    bank = ContextBank(torch.zeros(0, 64), torch.zeros(0, dtype=torch.int32), np.zeros((1, 128), dtype=np.float32))
    foreign = models.PersonalModel("espnetv2", tiny.segmenter, bank, Appearance.untouched(384), b"")
    with pytest.raises(ValueError, match="belongs to base espnetv2"):
        models.segment(tiny, photos[0], foreign)


def test_shrink_and_normalize_by_hand() -> None:
    photo = np.full((10, 20, 3), (124, 116, 104), dtype=np.uint8)  # the ImageNet mean, rounded
    x = normalize(shrink(photo, 32)[None])
    assert x.shape == (1, 3, 32, 32)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x.abs().max() < 0.01


def test_shrink_keeps_left_and_up() -> None:
    photo = np.zeros((40, 80, 3), dtype=np.uint8)
    photo[:20, :40, 0] = 255
    small = shrink(photo, 8)
    assert small[0, 0, 0] == 255
    assert small[0, 7, 7] == 0
    assert small[2].max() == 0
