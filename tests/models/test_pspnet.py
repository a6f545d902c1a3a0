"""ResNet-50 with pyramid pooling: the paper's shapes, ImageNet weights, a short training, and its result installed."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.bases import fetch, pspnet
from models.bases.info import Published
from models.bases.pspnet import PSPNet, PyramidPooling, start_at_imagenet
from models.bases.registry import build_espnetv2, find_base, load_entry, write_base_weights
from models.bases.torchvision import ENTRIES
from models.datasets import LabelledFolder
from models.train_base import RECIPES, Phase, Trainer, build
from models.types import ModelFileError
from tests.models.test_train_base import folder  # noqa: F401 - a fixture
from tests.models.weights_server import FILE, weights_server


def test_shapes_are_the_papers() -> None:
    network = PSPNet().eval()
    with torch.inference_mode():
        features, auxiliary = network.with_auxiliary(torch.zeros(1, 3, 96, 64))
    assert features.deep.shape == (1, 512, 12, 8)  # METHOD, "Network": stride 8, 512 channels
    assert features.fine.shape == (1, 512, 12, 8)
    assert features.logits.shape == (1, 21, 12, 8)
    assert auxiliary is not None and auxiliary.shape == (1, 21, 12, 8)


def test_pyramid_pooling_pools_over_its_bins() -> None:
    pool = PyramidPooling(8).eval()
    assert [level[0].output_size for level in pool.levels] == [1, 2, 3, 6]
    constant = torch.ones(1, 8, 6, 6)  # means of a constant are the constant: every level's map is flat
    maps = [level(constant) for level in pool.levels]
    assert all(torch.allclose(m, m[:, :, :1, :1].expand_as(m), atol=1e-6) for m in maps)
    assert pool(constant).shape == (1, 512, 6, 6)


def test_the_backbone_starts_at_imagenet_weights_from_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torchvision.models import resnet50  # models.bases has defined the schemas that this wants

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    classifier, file = resnet50(weights=None), io.BytesIO()
    torch.save(classifier.state_dict(), file)
    body = file.getvalue()
    with weights_server(body) as server:
        monkeypatch.setattr(pspnet, "IMAGENET", Published(server.root, FILE, hashlib.sha256(body).hexdigest(), len(body)))
        network = PSPNet()
        assert len(network.learns_statistics()) == 3
        start_at_imagenet(network, tmp_path)
    assert torch.equal(network.backbone.layer4[2].conv3.weight, classifier.layer4[2].conv3.weight)
    assert network.learns_statistics() == [network.pool, network.auxiliary]
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_train_base_trains_it_and_the_result_is_installed_and_loads(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    torch.manual_seed(0)
    recipe = replace(RECIPES[Phase.TOGETHER], epochs=1, smallest=64, largest=96, crop=64, base_rate=2e-4)
    photos = LabelledFolder.open(folder)
    segmenter = build(None, 2.0, base="pspnet_resnet50")
    trainer = Trainer(segmenter, Phase.TOGETHER, recipe, photos.subset(photos.ids[:4]), tmp_path, torch.device("cpu"))
    before = {name: value.clone() for name, value in segmenter.base.state_dict().items()}
    trainer.train(checkpoint_steps=100)
    trainer.checkpoint.unlink()  # 800 MB
    after = segmenter.base.state_dict()
    for name in ("backbone.conv1.weight", "pool.levels.3.1.weight", "auxiliary.4.weight", "pool.fuse.1.running_mean"):
        assert not torch.equal(before[name], after[name]), name

    info, file, weights_dir = find_base("pspnet_resnet50"), tmp_path / "pspnet_resnet50.safetensors", tmp_path / "weights"
    write_base_weights(trainer.mean, file)
    receipt = fetch.install(info, weights_dir, file)
    base = load_entry(info, torch.device("cpu"), weights_dir)
    assert base.info.sha256 == receipt.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    trained = trainer.mean.base.classify.weight.half().float()
    assert torch.equal(base.segmenter.base.classify.weight, trained)
    again = build(file, 2.0, base="pspnet_resnet50")
    assert torch.equal(again.base.classify.weight, trained) and again.base.learns_statistics() == []


def test_a_file_of_another_architecture_is_not_installed(tmp_path: Path) -> None:
    write_base_weights(build_espnetv2(0.5), tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="architecture"):
        fetch.install(find_base("pspnet_resnet50"), tmp_path / "weights", tmp_path / "other.safetensors")
    assert not (tmp_path / "weights").exists()


@pytest.mark.parametrize("info", ENTRIES, ids=lambda info: info.name)
def test_torchvisions_networks_have_its_number_of_parameters_and_say_their_channels(info: object) -> None:
    counts = {"lraspp_mobilenet_v3_large": 3_221_538, "deeplabv3_resnet50": 42_004_074, "deeplabv3_resnet101": 60_996_202}
    network = info.network().eval()  # type: ignore[attr-defined]
    assert sum(parameter.numel() for parameter in network.parameters()) == counts[info.name]  # type: ignore[attr-defined]
    with torch.inference_mode():
        features, _ = network.with_auxiliary(torch.zeros(1, 3, 64, 96))
    assert features.deep.shape[:2] == (1, network.deep_channels)
    assert features.fine.shape == (1, network.fine_channels, 8, 12)
    assert features.logits.shape == (1, 21, 8, 12)
