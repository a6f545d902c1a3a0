"""How many event streams a user may hold open, and when one counts as ended."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest
from fastapi import FastAPI
from starlette.types import Message

from app import jobs
from app.errors import TooManyRequests
from app.streams import CountedStream, OpenStreams, too_many_streams
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.leaving import receive_from, serve_once

USER = "0190"


def has_room(streams: OpenStreams, user_id: str = USER) -> bool:
    try:
        streams.require_room(user_id)
    except TooManyRequests:
        return False
    return True


def segmentation(caller: Caller) -> str:
    caller.upload_photos(1)
    return str(caller("POST", "segmentations", json={"adapt": "never"}).json()["id"])


def succeed(api: FastAPI, lease: jobs.Lease) -> None:
    with api.state.wiring.database.write() as session:
        jobs.succeed(session, lease)


def test_a_user_follows_so_many_jobs_at_once_and_no_more(alice: Caller, bob: Caller, api: FastAPI) -> None:
    streams = api.state.wiring.__dict__["streams"] = OpenStreams(1, too_many_streams)
    job_id, of_bob = segmentation(alice), segmentation(bob)
    lease = hand_worker.claim(api, job_id)
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(alice, "GET", f"segmentations/{job_id}/events")
        deadline = time.monotonic() + 30
        while has_room(streams, alice.user_id):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        refused = alice("GET", f"segmentations/{job_id}/events")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_streams")
        assert int(refused.headers["retry-after"]) >= 1
        assert alice("GET", f"segmentations/{job_id}").status_code == 200, "polling goes on"
        succeed(api, hand_worker.claim(api, of_bob))
        assert bob("GET", f"segmentations/{of_bob}/events").status_code == 200, "others have their own"
        succeed(api, lease)
        assert followed.result().text.count("event: job") == 2
    assert alice("GET", f"segmentations/{job_id}/events").status_code == 200, "there is room again"


@pytest.mark.parametrize("how", ["to its end", "the caller hangs up", "the caller is gone", "its source fails"])
def test_a_stream_counts_while_it_is_open_however_it_ends(how: str) -> None:
    streams = OpenStreams(1, too_many_streams)
    seen: list[bool] = []

    async def events() -> AsyncIterator[str]:
        seen.append(has_room(streams))
        yield "data: 1\n\n"
        if how == "its source fails":
            raise RuntimeError("the database is away")
        if how == "the caller hangs up":
            await anyio.sleep_forever()

    async def send(message: Message) -> None:
        if how == "the caller is gone" and message["type"] == "http.response.body":
            raise OSError

    async def serve() -> None:
        await CountedStream(events(), streams, USER)({"type": "http", "asgi": {"spec_version": "2.3"}}, receive_from(how), send)

    before = has_room(streams)
    serve_once(how, serve)
    assert (before, seen, has_room(streams)) == (True, [False], True)
