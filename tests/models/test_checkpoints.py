import copy
import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

import models
from models.appearance import Appearance
from models.checkpoints import ContextBank, save_delta

LOOKS = Appearance((1.5, 1.25, 0.75), (10.0, -5.0, 0.5), 224)


def moved(base: models.Base, by: float = 0.01) -> models.Base:
    torch.manual_seed(0)
    adapted = copy.deepcopy(base.segmenter)
    with torch.no_grad():
        for parameter in adapted.parameters():
            parameter.add_(by * torch.randn_like(parameter) * parameter.abs().mean())
    return adapted


def bank_of(base: models.Base) -> ContextBank:
    channels = base.segmenter.context.channels
    centres = np.eye(3, base.segmenter.base.deep_channels, dtype=np.float32)
    return ContextBank(torch.randn(6, channels), torch.tensor([0, 0, 1, 1, 2, 2], dtype=torch.int32), centres)


@pytest.fixture(scope="module")
def stored(tiny: models.Base) -> bytes:
    return save_delta(tiny, moved(tiny), bank_of(tiny), LOOKS)


def test_what_is_stored_comes_back_within_half_a_step_of_8_bits(tiny: models.Base, stored: bytes) -> None:
    adapted = moved(tiny)
    loaded = models.load_personal(stored, tiny)
    for (name, base), wanted, got in zip(
        tiny.segmenter.named_parameters(), adapted.parameters(), loaded.segmenter.parameters(), strict=True
    ):
        change, error = (wanted - base).abs(), (wanted - got).abs()
        bound = change.flatten(1).amax(1).max() / 127 / 2 if base.dim() > 1 else change.max() / 1024
        assert error.max() <= bound * 1.01 + 1e-7, name


def test_the_base_is_left_as_it_was(tiny: models.Base, stored: bytes) -> None:
    before = {name: value.clone() for name, value in tiny.segmenter.state_dict().items()}
    models.load_personal(stored, tiny)
    assert all(torch.equal(before[name], value) for name, value in tiny.segmenter.state_dict().items())


def test_the_bank_comes_back_by_group(tiny: models.Base, stored: bytes) -> None:
    bank = models.load_personal(stored, tiny).bank
    assert [len(bank.of(group)) for group in range(4)] == [2, 2, 2, 0]
    assert bank.nearest(np.eye(3, tiny.segmenter.base.deep_channels)[1]) == 1


def test_the_bank_comes_back_within_half_a_step_of_8_bits(tiny: models.Base, stored: bytes) -> None:
    torch.manual_seed(3)
    bank = bank_of(tiny)
    got = models.load_personal(save_delta(tiny, tiny.segmenter, bank, LOOKS), tiny).bank.proxies
    step = bank.proxies.abs().amax(1, keepdim=True) / 127
    assert ((got - bank.proxies).abs() <= 0.51 * step).all()


def test_the_appearance_comes_back(tiny: models.Base, stored: bytes) -> None:
    appearance = models.load_personal(stored, tiny).appearance
    assert (appearance.gain, appearance.offset, appearance.side) == (LOOKS.gain, LOOKS.offset, LOOKS.side)


@pytest.mark.parametrize("values", [[1.0] * 6 + [100.0], [1.0] * 6 + [0.0], [1.0] * 6 + [1e6], [float("nan")] * 7, [1.0] * 3])
def test_an_appearance_that_cannot_be_is_refused(tiny: models.Base, stored: bytes, values: list[float]) -> None:
    tensors = load(stored) | {"appearance": torch.tensor(values)}
    broken = save(tensors, metadata=metadata_of(stored))
    with pytest.raises(models.ModelFileError, match="appearance"):
        models.load_personal(broken, tiny)


def test_loading_twice_gives_the_same_model(tiny: models.Base, stored: bytes) -> None:
    first, second = (models.load_personal(stored, tiny).segmenter.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_file_is_small(tiny: models.Base, stored: bytes) -> None:
    parameters = sum(parameter.numel() for parameter in tiny.segmenter.parameters())
    assert len(stored) < 1.25 * parameters + 20_000


@pytest.mark.parametrize("cut", [0, 4, 8, 100, 5000, -1])
def test_a_cut_off_file_is_refused(tiny: models.Base, stored: bytes, cut: int) -> None:
    with pytest.raises(models.ModelFileError):
        models.load_personal(stored[:cut], tiny)


def metadata_of(stored: bytes) -> dict[str, str]:
    length = int.from_bytes(stored[:8], "little")
    return json.loads(stored[8 : 8 + length])["__metadata__"]


def with_metadata(stored: bytes, **changes: str) -> bytes:
    fingerprint = json.loads(metadata_of(stored)["personalseg"]) | changes
    return save(load(stored), metadata={"personalseg": json.dumps(fingerprint)})


@pytest.mark.parametrize("field", ["format", "base", "base_sha256", "layout"])
def test_a_file_of_another_kind_or_base_is_refused_by_name(tiny: models.Base, stored: bytes, field: str) -> None:
    with pytest.raises(models.ModelFileError, match=field):
        models.load_personal(with_metadata(stored, **{field: "other"}), tiny)


@pytest.mark.parametrize("name", ["delta", "scales", "vectors"])
def test_missing_values_are_refused(tiny: models.Base, stored: bytes, name: str) -> None:
    tensors = load(stored)
    tensors[name] = tensors[name][:-1].clone()
    with pytest.raises(models.ModelFileError, match=name):
        models.load_personal(save(tensors, metadata=metadata_of(stored)), tiny)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("bank", lambda bank: bank[:, :-1].contiguous()),
        ("bank", lambda bank: bank.flatten()),
        ("bank_scales", lambda scales: scales[:-1].clone()),
        ("bank_group", lambda group: group[:-1].clone()),
        ("delta", lambda delta: delta.float()),
        ("vectors", lambda vectors: vectors.float()),
        ("bank_scales", lambda scales: scales[:, None]),
        ("bank_scales", lambda scales: scales * math.nan),
        ("bank_group", lambda group: group[:, None]),
        ("bank_group", lambda group: group + 1),
        ("bank_group", lambda group: group - 1),
        ("centres", lambda centres: centres[:, :-1].contiguous()),
        ("centres", lambda centres: centres[:0]),
        ("centres", lambda centres: centres * math.inf),
        ("scales", lambda scales: scales * math.nan),
        ("vectors", lambda vectors: vectors * math.inf),
        ("delta", lambda delta: delta[None]),
    ],
)
def test_tensors_of_another_shape_or_type_are_refused(
    tiny: models.Base, stored: bytes, name: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    tensors = load(stored)
    tensors[name] = change(tensors[name])
    with pytest.raises(models.ModelFileError, match=r"context bank|are not those of|another form|group centres"):
        models.load_personal(save(tensors, metadata=metadata_of(stored)), tiny)


def test_metadata_nested_beyond_measure_is_refused(tiny: models.Base, stored: bytes) -> None:
    with pytest.raises(models.ModelFileError):
        models.load_personal(save(load(stored), metadata={"personalseg": "[" * 100_000}), tiny)


def test_a_tensor_too_many_is_refused(tiny: models.Base, stored: bytes) -> None:
    tensors = load(stored) | {"another": torch.zeros(1)}
    with pytest.raises(models.ModelFileError, match="another"):
        models.load_personal(save(tensors, metadata=metadata_of(stored)), tiny)


def test_a_weight_too_large_for_16_bits_is_not_stored(tiny: models.Base) -> None:
    grown = copy.deepcopy(tiny.segmenter)
    vector = next(parameter for parameter in grown.parameters() if parameter.dim() == 1)
    with torch.no_grad():
        vector[0] = 1e6
    with pytest.raises(models.ModelFileError, match="too large"):
        save_delta(tiny, grown, bank_of(tiny), LOOKS)


def test_an_exploded_model_is_not_stored(tiny: models.Base) -> None:
    broken = copy.deepcopy(tiny.segmenter)
    with torch.no_grad():
        broken.base.stem.conv.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(models.ModelFileError, match="not finite"):
        save_delta(tiny, broken, bank_of(tiny), LOOKS)
