"""Which photos of a gallery only the guard sees."""

from __future__ import annotations

import numpy as np

from models.config import PersonalizeConfig


def held_out(chosen: int, config: PersonalizeConfig) -> list[int]:
    """Positions, among `chosen` photos in the order of their groups, that are not learned from: an even draw over the groups."""
    if chosen < config.held_out_from or not config.held_out_share:
        return []
    kept_back = round(config.held_out_share * chosen)
    return [int(position) for position in (np.arange(kept_back) + 0.5) * chosen / kept_back]


def learned_from(chosen: int, config: PersonalizeConfig) -> list[int]:
    """The other positions."""
    return sorted(set(range(chosen)) - set(held_out(chosen, config)))


def guarded(chosen: int, config: PersonalizeConfig) -> list[int]:
    """Positions that the guard looks at: those held out, then an even draw of the others up to `config.guard_photos`."""
    kept_back, others = held_out(chosen, config), learned_from(chosen, config)
    room = max(0, config.guard_photos - len(kept_back))
    drawn = np.unique(np.linspace(0, len(others) - 1, min(room, len(others))).astype(int))
    return [*kept_back, *(others[index] for index in drawn)]
