"""A wall clock that is set while the service runs."""

from __future__ import annotations

import pytest

from app.clock import SETTLE_SECONDS, JumpWatch


class Hands:
    """Two clocks that the test sets."""

    def __init__(self) -> None:
        self.wall = 1_000_000.0
        self.monotonic = 50.0

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def hands() -> Hands:
    return Hands()


@pytest.fixture
def watch(hands: Hands) -> JumpWatch:
    return JumpWatch(lambda: hands.wall, lambda: hands.monotonic)


def test_time_that_passes_is_no_jump(hands: Hands, watch: JumpWatch) -> None:
    for _ in range(10):
        hands.pass_by(3600)
        hands.wall += 1.0  # corrected little by little
        assert watch.is_settled()


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 5.0])
def test_after_a_jump_it_takes_a_while_to_settle(hands: Hands, watch: JumpWatch, jump: float) -> None:
    hands.wall += jump
    assert not watch.is_settled()
    hands.pass_by(SETTLE_SECONDS - 0.1)
    assert not watch.is_settled()
    hands.pass_by(0.1)
    assert watch.is_settled()
