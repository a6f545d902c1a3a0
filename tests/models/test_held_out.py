import pytest

from models.config import PersonalizeConfig
from models.held_out import guarded, held_out, learned_from

CONFIG = PersonalizeConfig()


def test_one_photo_in_eight_is_held_out_evenly() -> None:
    assert held_out(64, CONFIG) == [4, 12, 20, 28, 36, 44, 52, 60]
    assert held_out(16, CONFIG) == [4, 12]


def test_a_small_gallery_is_learned_from_whole() -> None:
    assert held_out(15, CONFIG) == []
    assert learned_from(15, CONFIG) == list(range(15))


@pytest.mark.parametrize("chosen", [2, 15, 16, 17, 40, 64, 160])
def test_each_photo_is_learned_from_or_held_out(chosen: int) -> None:
    kept_back, learned = held_out(chosen, CONFIG), learned_from(chosen, CONFIG)
    assert sorted([*kept_back, *learned]) == list(range(chosen))


@pytest.mark.parametrize("chosen", [2, 15, 16, 64, 160])
def test_the_guard_sees_those_held_out_first_and_none_twice(chosen: int) -> None:
    looked_at = guarded(chosen, CONFIG)
    assert looked_at[: len(held_out(chosen, CONFIG))] == held_out(chosen, CONFIG)
    assert len(set(looked_at)) == len(looked_at) == min(chosen, CONFIG.guard_photos)


def test_more_held_out_than_the_guard_looks_at_are_all_looked_at() -> None:
    config = PersonalizeConfig(guard_photos=4)
    assert guarded(64, config) == held_out(64, config)
