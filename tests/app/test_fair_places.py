"""Decoding places go round among the users, and one user's uploads and waiting pictures are bounded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI

from app.errors import TooManyRequests
from app.fair_places import FairPlaces
from app.streams import OpenStreams, too_many_uploads
from tests.app.conftest import Caller
from tests.app.photos import jpeg
from tests.waiting import within


class Work:
    """Functions that run until they are let go, and the order in which they began."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._go = threading.Semaphore(0)

    def of(self, name: str) -> str:
        self.begun.append(name)
        assert self._go.acquire(timeout=30)
        return name

    def let_go(self, calls: int) -> None:
        self._go.release(calls)


async def settled() -> None:
    """What can go on has gone on to its next wait."""
    for _ in range(20):
        await anyio.sleep(0.005)


def test_a_free_place_goes_to_the_next_user_who_waits() -> None:
    work = Work()

    async def ask() -> None:
        places = FairPlaces(1, most_waiting=10)
        async with anyio.create_task_group() as tasks:
            for name in ("alice 1", "alice 2", "alice 3", "alice 4", "bob 1", "carol 1", "bob 2"):
                tasks.start_soon(places.run, name.split()[0], work.of, name)
                await settled()
            work.let_go(7)

    anyio.run(ask)
    assert work.begun == ["alice 1", "alice 2", "bob 1", "carol 1", "alice 3", "bob 2", "alice 4"]


def test_as_many_run_as_there_are_places_also_for_one_user() -> None:
    work = Work()

    async def ask() -> int:
        places = FairPlaces(2, most_waiting=10)
        async with anyio.create_task_group() as tasks:
            for name in "abc":
                tasks.start_soon(places.run, "alice", work.of, name)
            await settled()
            at_once = len(work.begun)
            work.let_go(3)
        return at_once

    assert anyio.run(ask) == 2 and sorted(work.begun) == ["a", "b", "c"]


def test_who_has_too_many_waiting_is_refused_and_others_are_not() -> None:
    work = Work()

    async def ask() -> None:
        places = FairPlaces(1, most_waiting=1)
        async with anyio.create_task_group() as tasks:
            for name in ("runs", "waits"):
                tasks.start_soon(places.run, "alice", work.of, name)
                await settled()
            with pytest.raises(TooManyRequests) as refusal:
                await places.run("alice", work.of, "refused")
            assert refusal.value.code == "too_many_waiting"
            tasks.start_soon(places.run, "bob", work.of, "bob's")
            await settled()
            work.let_go(3)

    anyio.run(ask)
    assert work.begun == ["runs", "waits", "bob's"]


@pytest.mark.parametrize("moment", ["waiting", "its turn has just come"])
def test_who_leaves_takes_no_place_along(moment: str) -> None:
    work = Work()

    async def ask() -> str:
        places = FairPlaces(1, most_waiting=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(places.run, "alice", work.of, "runs")
            await settled()
            with anyio.CancelScope() as leaving:
                async with anyio.create_task_group() as leavers:
                    leavers.start_soon(places.run, "alice", work.of, "leaves")
                    await settled()
                    if moment != "waiting":
                        places._give_back()  # as at the end of what runs, in the same moment
                    leaving.cancel()
            if moment != "waiting":
                await places._take("alice")  # the place that was given back
            tasks.start_soon(places.run, "alice", work.of, "next")
            await settled()
            work.let_go(2)
        return await places.run("alice", str, "free again")

    assert anyio.run(ask) == "free again"
    assert work.begun == ["runs", "next"]


def test_what_fails_gives_its_place_back() -> None:
    async def ask() -> str:
        places = FairPlaces(1, most_waiting=1)
        with pytest.raises(ZeroDivisionError):
            await places.run("alice", lambda: 1 // 0)
        return await places.run("alice", str, "free again")

    assert anyio.run(ask) == "free again"


def blocked(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> tuple[threading.Event, threading.Event]:
    """Makes the next call of this method begin (the first event) and wait for the second event; later calls go through."""
    begun, go = threading.Event(), threading.Event()
    method: Callable[..., Any] = getattr(owner, name)

    def slow(*arguments: Any) -> Any:
        if not begun.is_set():
            begun.set()
            assert go.wait(30)
        return method(*arguments)

    monkeypatch.setattr(owner, name, slow)
    return begun, go


def code_of(answer: httpx.Response) -> str:
    assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1, answer.text
    return str(answer.json()["code"])


def test_a_user_has_so_many_pictures_waiting_and_no_more(alice: Caller, bob: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    places = api.state.wiring.__dict__["decoding"] = FairPlaces(1, most_waiting=1)
    photo, his = alice.upload_photos(1)[0], bob.upload_photos(1)[0]
    begun, go = blocked(monkeypatch, api.state.wiring.decoder, "thumbnail")
    with ThreadPoolExecutor(3) as pool:
        runs = pool.submit(alice, "GET", f"images/{photo}/thumbnail")
        assert begun.wait(30)
        waits = pool.submit(alice, "GET", f"images/{photo}/thumbnail?size=100")
        assert within(30, lambda: bool(places._waiting))
        assert code_of(alice("GET", f"images/{photo}/thumbnail?size=101")) == "too_many_waiting"
        of_bob = pool.submit(bob, "GET", f"images/{his}/thumbnail")
        assert within(30, lambda: len(places._waiting) == 2)
        go.set()
        assert [answer.result().status_code for answer in (runs, waits, of_bob)] == [200, 200, 200]


def test_a_user_sends_so_many_uploads_at_once_and_no_more(
    alice: Caller, bob: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.state.wiring.__dict__["uploads"] = OpenStreams(1, too_many_uploads)
    begun, go = blocked(monkeypatch, api.state.wiring.decoder, "inspect")
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(alice.upload_photos, 1)
        assert begun.wait(30)
        files = [("files", ("1.jpg", jpeg(seed=1)))]
        assert code_of(alice("POST", "images", files=files)) == "too_many_uploads"
        assert code_of(alice("POST", "segment", content=jpeg(), headers={"Content-Type": "image/jpeg"})) == "too_many_uploads"
        assert len(bob.upload_photos(1)) == 1, "others have their own"
        go.set()
        assert len(under_way.result()) == 1
    assert alice("POST", "images", files=files).status_code == 200, "there is room again"
