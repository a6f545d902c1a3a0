import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import models
from models.bases.espnetv2 import ESPNetv2, branch_dilations, from_edgenets
from models.bases.registry import load_entry, read_base_weights, stored_names, write_base_weights
from models.labels import VOC_CLASSES

SHARED_WEIGHTS = Path(__file__).parents[3] / "shared" / "data" / "weights"
needs_shared_weights = pytest.mark.skipif(not SHARED_WEIGHTS.is_dir(), reason="needs ../shared/data/weights")


def test_espnetv2_has_the_published_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in ESPNetv2(2.0).parameters()) == 789_253


def test_dilations_respect_the_receptive_limit() -> None:
    assert branch_dilations(13) == [1, 2, 3, 4]
    assert branch_dilations(7) == [1, 1, 2, 3]  # the fourth branch would reach 9 pixels: it falls back to 3


def test_espnetv2_shapes() -> None:
    features = ESPNetv2(0.5).eval()(torch.zeros(2, 3, 64, 96))
    assert features.deep.shape == (2, 128, 4, 6)
    assert features.fine.shape == (2, 64 + 48, 8, 12)
    assert features.logits.shape == (2, 21, 32, 48)


@needs_shared_weights
@pytest.mark.parametrize(("file", "width"), [("espnetv2_s_2.0_pascal_384x384.pth", 2.0), ("espnetv2_s_0.5_pascal_256x256.pth", 0.5)])
def test_published_weights_fit_strictly(file: str, width: float) -> None:
    published = torch.load(SHARED_WEIGHTS / file, map_location="cpu", weights_only=True)
    ESPNetv2(width).load_state_dict(from_edgenets(published), strict=True)


@pytest.mark.parametrize("name", [info.name for info in models.available_bases() if info.weights is not None])
def test_shipped_bases_load_and_know_a_person_and_a_cat(name: str, photos) -> None:
    base = models.load_base(name)
    astronaut, cat = (models.segment(base, photos[index]).labels for index in (0, 2))
    assert (astronaut == VOC_CLASSES.index("person")).mean() > 0.2
    assert (cat == VOC_CLASSES.index("cat")).mean() > 0.2


def test_the_default_base_comes_first_and_is_small() -> None:
    first = models.available_bases()[0]
    assert first == models.default_base()
    assert first.weights.stat().st_size <= 3_000_000


def test_an_unknown_base_is_named_in_the_error() -> None:
    with pytest.raises(KeyError, match="no base named 'resnet'"):
        models.load_base("resnet")


def test_a_changed_weights_file_is_refused(tiny: models.Base, tmp_path: Path) -> None:
    data = bytearray(tiny.info.weights.read_bytes())
    data[-1] ^= 1
    changed = tmp_path / "changed.safetensors"
    changed.write_bytes(data)
    info = replace(tiny.info, weights=changed)
    with pytest.raises(models.ModelFileError, match="sha256"):
        load_entry(info, torch.device("cpu"))


def test_weights_round_trip_in_half_precision(tiny: models.Base, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_base_weights(tiny.segmenter, path)
    fresh = tiny.info.build()
    read_base_weights(fresh, path.read_bytes())
    assert all(torch.equal(a, b) for a, b in zip(stored_names(fresh).values(), stored_names(tiny.segmenter).values(), strict=True))
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


@pytest.mark.parametrize("data", [b"", b"not safetensors at all", b"\xff" * 64])
def test_garbage_is_refused(tiny: models.Base, data: bytes) -> None:
    with pytest.raises(models.ModelFileError):
        read_base_weights(tiny.info.build(), data)


def test_weights_of_another_width_are_refused(tiny: models.Base) -> None:
    other = models.available_bases()[0]
    assert other.name != tiny.info.name
    with pytest.raises(models.ModelFileError, match="architecture"):
        read_base_weights(tiny.info.build(), other.weights.read_bytes())


def test_a_weight_beyond_half_precision_is_refused(tiny: models.Base, tmp_path: Path) -> None:
    broken = tiny.info.build()
    with torch.no_grad():
        broken.base.stem.conv.weight.fill_(1e6)
    with pytest.raises(models.ModelFileError, match="fp16"):
        write_base_weights(broken, tmp_path / "w.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_torchvision_imports_beside_a_cpu_torch() -> None:
    build = "lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)"
    code = f"import models.torchvision_ops; from torchvision.models.segmentation import lraspp_mobilenet_v3_large; {build}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_same_photo_same_mask(tiny: models.Base, photos) -> None:
    first, second = (models.segment(tiny, photos[0]) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.confidence, second.confidence)
