"""An answer that is given again for some seconds, on a clock that the test sets."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from app.remembered import Remembered


class Clock:
    """Counts who looked at it."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looked = threading.Semaphore(0)

    def __call__(self) -> float:
        self.looked.release()
        return self.now


def test_it_is_asked_again_when_its_time_is_over() -> None:
    clock, answers = Clock(), iter("abc")
    remembered = Remembered(5.0, lambda: next(answers), clock=clock)
    assert remembered() == remembered() == "a"
    clock.now += 4.9
    assert remembered() == "a"
    clock.now += 0.2
    assert remembered() == remembered() == "b"


def test_with_no_time_it_is_asked_by_every_call() -> None:
    answers = iter("abc")
    remembered = Remembered(0.0, lambda: next(answers), clock=Clock())
    assert [remembered(), remembered(), remembered()] == ["a", "b", "c"]


def test_its_age_counts_from_when_it_was_asked() -> None:
    """What hangs for longer than that is not well for that time once more."""
    clock, asked = Clock(), []

    def ask() -> int:
        asked.append(clock.now)
        clock.now += 6.0
        return len(asked)

    remembered = Remembered(5.0, ask, clock=clock)
    assert [remembered(), remembered()] == [1, 2]


def test_those_who_wait_for_a_slow_answer_do_not_ask_one_after_the_other() -> None:
    clock, began, may_answer = Clock(), threading.Semaphore(0), threading.Semaphore(0)
    asked: list[float] = []

    def ask() -> int:
        asked.append(clock.now)
        began.release()
        assert may_answer.acquire(timeout=10)
        clock.now += 30.0
        return len(asked)

    remembered = Remembered(5.0, ask, clock=clock)
    with ThreadPoolExecutor(5) as callers:
        first = callers.submit(remembered)
        assert began.acquire(timeout=10)
        while clock.looked.acquire(blocking=False):
            pass
        clock.now += 10.0
        others = [callers.submit(remembered) for _ in range(4)]
        assert all(clock.looked.acquire(timeout=10) for _ in others)
        may_answer.release(5)
        assert [first.result(10), *(other.result(10) for other in others)] == [1, 2, 2, 2, 2]
