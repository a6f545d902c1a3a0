import numpy as np
import pytest

from models.config import PersonalizeConfig
from models.grouping import group_batches, group_photos, group_runs, nearest_group
from models.look import _grouped


def two_heaps() -> np.ndarray:
    rng = np.random.default_rng(0)
    heaps = [np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])]
    return np.concatenate([heap + 0.01 * rng.normal(size=(count, 3)) for heap, count in zip(heaps, (5, 11), strict=True)])


def test_alike_photos_share_a_group_and_the_largest_group_is_number_0() -> None:
    groups, centres = group_photos(two_heaps(), size=8)
    assert groups.tolist() == [1] * 5 + [0] * 11
    assert centres.shape == (2, 3)


def test_the_photos_learned_from_make_the_groups_and_the_others_join_them() -> None:
    rows = np.concatenate([two_heaps()] * 5)
    kept = list(range(len(two_heaps())))
    groups, centres = _grouped(rows, kept, PersonalizeConfig(group_size=8))
    alone, _ = group_photos(two_heaps(), size=8)
    assert len(centres) == -(-len(kept) // 8)
    assert groups.tolist() == alone.tolist() * 5


def test_brightness_of_a_description_does_not_matter() -> None:
    rows = two_heaps()
    assert np.array_equal(group_photos(rows)[0], group_photos(rows * np.linspace(0.1, 9, len(rows))[:, None])[0])


def test_a_new_photo_finds_its_group() -> None:
    _, centres = group_photos(two_heaps(), size=8)
    assert nearest_group(np.array([9.0, 0.2, 0.0]), centres) == 1


@pytest.mark.parametrize("rows", [np.ones((20, 4)), np.zeros((20, 4)), np.ones((1, 4))])
def test_identical_photos_make_one_group(rows: np.ndarray) -> None:
    groups, centres = group_photos(rows)
    assert set(groups.tolist()) == {0}
    assert len(centres) == 1


def test_same_seed_same_groups() -> None:
    rows = np.random.default_rng(3).normal(size=(40, 6))
    assert np.array_equal(group_photos(rows, seed=5)[0], group_photos(rows, seed=5)[0])


def test_batches_hold_every_photo_once_and_one_group_each() -> None:
    groups = np.array([0] * 11 + [1] * 5 + [2])
    batches = group_batches(groups, size=4, rng=np.random.default_rng(0))
    assert sorted(i for batch in batches for i in batch) == list(range(17))
    assert all(len({int(groups[i]) for i in batch}) == 1 and len(batch) <= 4 for batch in batches)


def test_runs_by_hand() -> None:
    assert group_runs(np.array([1, 0, 1, 0, 0]), size=2) == [[1, 3], [4], [0, 2]]
