from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.new_photos import LEARNED, NEW, WAYS, Part, by_every_way, looked_at, measure, split
from benchmarks.speed import personal_like
from models.appearance import Appearance
from models.bases.registry import Base
from models.config import PersonalizeConfig
from models.inference import personal_logits
from models.preprocess import shrink
from tests.benchmarks.conftest import SIDE, picture


@dataclass(frozen=True)
class Labelled:
    """Photos in memory, each with a label."""

    count: int

    @property
    def ids(self) -> list[str]:
        return [f"photo-{index}" for index in range(self.count)]

    @property
    def scored(self) -> range:
        return range(self.count)

    def load(self, index: int) -> np.ndarray:
        return picture(index)

    def label(self, index: int) -> np.ndarray:
        label = np.zeros((72, 96), np.uint8)
        label[20:50, 30:60] = 15
        return label


def test_every_fourth_photo_is_new() -> None:
    assert split(9) == ([0, 1, 2, 4, 5, 6, 8], [3, 7])


def test_a_part_has_its_own_order() -> None:
    part = Part(Labelled(5), [4, 1])
    assert list(part.ids) == ["photo-4", "photo-1"]
    assert np.array_equal(part.load(0), picture(4))


def test_the_bank_is_what_the_service_does_and_the_group_is_another_thing(tiny: Base) -> None:
    model = personal_like(tiny, Appearance.untouched(SIDE))
    photos = [picture(index) for index in range(3)]
    first, *mates = (looked_at(model, tiny, photo) for photo in photos)
    ways = by_every_way(model, first, mates, group=1)
    served = personal_logits(model, shrink(photos[0], SIDE)[None], tiny.device, group=1)[0]
    torch.testing.assert_close(ways["context bank"], served)
    assert list(ways) == list(WAYS[1:])
    assert not torch.equal(ways["whole group"], ways["own context"])
    alone = by_every_way(model, first, [], group=1)
    torch.testing.assert_close(alone["whole group"], alone["own context"])


def test_both_kinds_of_photos_are_scored_by_every_way(tiny: Base) -> None:
    config = PersonalizeConfig(budget_seconds=600.0, epochs=1, runs=1, learning_rate=0.0, scales=(1.0,), appearance=False)
    scores = measure(tiny, Labelled(8), config)["scores"]
    assert set(scores) == {LEARNED, NEW}
    for of_part in scores.values():
        assert list(of_part) == list(WAYS)
        assert of_part["without context"] == of_part["base, plain"], "nothing was learned: the same weights"
        assert of_part["whole group"] != of_part["own context"], "the mates were looked at"


def test_a_gallery_without_a_model_has_a_verdict_and_no_scores(tiny: Base) -> None:
    found = measure(tiny, Labelled(1), PersonalizeConfig())
    assert found["verdict"]["code"] == "too_few_photos"
    assert found["scores"] == {}
