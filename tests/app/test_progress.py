"""What a waiting caller is told: places in the queue, events, when to ask again."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app import jobs, turns
from app.settings import Settings
from tests.app import hand_worker
from tests.app.conftest import Caller, statements_on


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"events_heartbeat_seconds": 0.6})


def segmentation(caller: Caller) -> str:
    return str(caller("POST", "segmentations", json={"adapt": "never"}).json()["id"])


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    blocks = [block for block in answer.text.split("\n\n") if block.startswith("id: ")]
    return [json.loads(block.split("data: ", 1)[1]) for block in blocks]


def report(api: FastAPI, lease: jobs.Lease, percent: float) -> None:
    with api.state.wiring.database.write() as session:
        jobs.report_progress(session, lease, stage="segmenting", step=1, steps=10, percent=percent, eta_seconds=1.0)


def succeed(api: FastAPI, lease: jobs.Lease) -> None:
    with api.state.wiring.database.write() as session:
        jobs.succeed(session, lease)


def test_the_place_in_the_queue_is_that_of_taking_turns(alice: Caller, bob: Caller, api: FastAPI) -> None:
    api.state.wiring.__dict__["lines"] = turns.RecentLines(0.0)
    for caller in (alice, bob):
        caller.upload_photos(1)
    of_alice = [segmentation(alice) for _ in range(3)]
    of_bob = segmentation(bob)
    places = [alice("GET", f"segmentations/{job_id}").json()["queue_position"] for job_id in of_alice]
    assert (places, bob("GET", f"segmentations/{of_bob}").json()["queue_position"]) == ([1, 3, 4], 2)
    listed = alice("GET", "segmentations").json()["items"]
    assert [job["queue_position"] for job in listed] == [4, 3, 1]


def test_a_queued_job_tells_its_follower_that_it_moves_up(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(1)
    first, second = segmentation(alice), segmentation(alice)

    def work() -> None:
        time.sleep(2.0)
        succeed(api, hand_worker.claim(api, first))
        time.sleep(3.5)
        succeed(api, hand_worker.claim(api, second))

    worker = threading.Thread(target=work)
    worker.start()
    events = events_of(alice("GET", f"segmentations/{second}/events"))
    worker.join()
    waiting = [event["queue_position"] for event in events if event["status"] == "queued"]
    assert waiting in ([2, 1], [1]) and events[-1]["status"] == "succeeded"


def test_followers_of_queued_jobs_share_what_they_ask_the_queue(alice: Caller, bob: Caller, api: FastAPI) -> None:
    for caller in (alice, bob):
        caller.upload_photos(1)
    followed = [(caller, segmentation(caller)) for caller in (alice, alice, bob, bob)]

    def follow(caller: Caller, job_id: str) -> list[dict[str, Any]]:
        return events_of(caller("GET", f"segmentations/{job_id}/events"))

    with ThreadPoolExecutor(4) as pool, statements_on(api.state.wiring.database) as sent:
        streams = [pool.submit(follow, caller, job_id) for caller, job_id in followed]
        time.sleep(3.0)
        reads_of_the_line = sum("GROUP BY jobs.user_id" in statement for statement in sent)
        for caller, job_id in followed:
            caller("POST", f"segmentations/{job_id}/cancel")
        statuses = [[event["status"] for event in stream.result()][-1] for stream in streams]
    assert statuses == ["cancelled"] * 4
    # At their start, and once more after two seconds; a look each quarter of a second would be 48.
    assert 1 <= reads_of_the_line <= 4


@pytest.mark.parametrize("path", ["segmentations/{0}", "segmentations/{0}?items=false", "segmentations", "adaptations/{1}", "adaptations"])
def test_those_who_poll_share_what_they_ask_the_queue(alice: Caller, api: FastAPI, path: str) -> None:
    api.state.wiring.__dict__["lines"] = turns.RecentLines(60.0)
    alice.upload_photos(2)
    adaptation = alice("POST", "adaptations", json={}).json()["id"]
    polled = path.format(segmentation(alice), adaptation)
    with statements_on(api.state.wiring.database) as sent:
        for _ in range(3):
            answer = alice("GET", polled).json()
            assert [job["queue_position"] for job in answer.get("items", [answer]) if "queue_position" in job] in ([1], [])
        for kind, job_id in (("segmentations", segmentation(alice)), ("adaptations", adaptation)):
            assert alice("POST", f"{kind}/{job_id}/cancel").status_code == 202
    assert sum("GROUP BY jobs.user_id" in statement for statement in sent) <= 1


def test_a_silent_stream_says_that_it_lives(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(1)
    job_id = segmentation(alice)
    lease = hand_worker.claim(api, job_id)
    ending = threading.Timer(4.0, succeed, (api, lease))
    ending.start()
    answer = alice("GET", f"segmentations/{job_id}/events")
    ending.join()
    assert answer.text.count(": still here\n\n") >= 1
    assert [event["status"] for event in events_of(answer)] == ["running", "succeeded"]


def test_there_are_at_most_four_events_a_second_and_their_percent_never_falls(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(1)
    job_id = segmentation(alice)
    lease = hand_worker.claim(api, job_id)

    def work() -> None:
        for step in range(60):
            report(api, lease, percent=step if step % 3 else 0.0)  # some writer counts backwards
            time.sleep(0.02)
        succeed(api, lease)

    worker = threading.Thread(target=work)
    started = time.monotonic()
    worker.start()
    events = events_of(alice("GET", f"segmentations/{job_id}/events"))
    elapsed = time.monotonic() - started
    worker.join()
    assert 3 <= len(events) <= elapsed / 0.25 + 2
    percents, revisions = [event["percent"] for event in events], [event["revision"] for event in events]
    assert percents == sorted(percents) and percents[-1] == 100.0
    assert revisions == sorted(set(revisions))


def test_events_count_the_photos_and_do_not_list_them(alice: Caller, bob: Caller, api: FastAPI) -> None:
    photos = alice.upload_photos(3)
    bob.upload_photos(2)
    segmentation(bob)
    job_id = segmentation(alice)

    def counts() -> list[dict[str, int]]:
        listed = [job["item_counts"] for job in alice("GET", "segmentations").json()["items"]]
        return [alice("GET", f"segmentations/{job_id}").json()["item_counts"], *listed]

    assert counts() == [{"pending": 3, "done": 0, "failed": 0}] * 2

    def work() -> None:
        time.sleep(1.0)
        hand_worker.segment(api, job_id, failing=photos[1])

    worker = threading.Thread(target=work)
    worker.start()
    events = events_of(alice("GET", f"segmentations/{job_id}/events"))
    worker.join()
    assert not any("items" in event for event in events)
    assert events[0]["item_counts"] == {"pending": 3, "done": 0, "failed": 0}
    assert events[-1]["item_counts"] == {"pending": 0, "done": 2, "failed": 1}
    assert counts() == [events[-1]["item_counts"]] * 2
    document = alice("GET", f"segmentations/{job_id}").json()
    assert [item["status"] for item in document.pop("items")] == ["done", "failed", "done"]
    assert document == events[-1]


@pytest.mark.parametrize("last_seen", ["0", "not a number", "999999"])
def test_a_follower_with_an_id_of_another_state_gets_the_present_one(alice: Caller, api: FastAPI, last_seen: str) -> None:
    alice.upload_photos(1)
    job_id = segmentation(alice)
    succeed(api, hand_worker.claim(api, job_id))
    (event,) = events_of(alice("GET", f"segmentations/{job_id}/events", headers={"Last-Event-ID": last_seen}))
    assert event["status"] == "succeeded"


@pytest.mark.parametrize("kind", ["adaptations", "segmentations"])
def test_who_polls_is_told_when_to_ask_again_until_the_end(alice: Caller, api: FastAPI, kind: str) -> None:
    alice.upload_photos(2)
    started = alice("POST", kind, json={} if kind == "adaptations" else {"adapt": "never"})
    job_id = started.json()["id"]
    assert int(started.headers["retry-after"]) >= 1
    assert int(alice("GET", f"{kind}/{job_id}").headers["retry-after"]) >= 1
    lease = hand_worker.claim(api, job_id)
    assert int(alice("GET", f"{kind}/{job_id}").headers["retry-after"]) >= 1
    asked = alice("POST", f"{kind}/{job_id}/cancel")
    assert (asked.json()["status"], asked.json()["cancel_requested"]) == ("running", True)
    assert int(asked.headers["retry-after"]) >= 1
    with api.state.wiring.database.write() as session:
        jobs.cancel(session, lease)
    ended = alice("GET", f"{kind}/{job_id}")
    assert "retry-after" not in ended.headers
    assert all(ended.json()[name] for name in ("started_at", "finished_at", "attempt"))


def test_a_job_that_gave_way_shows_no_stale_estimate(alice: Caller, bob: Caller, api: FastAPI) -> None:
    api.state.wiring.__dict__["lines"] = turns.RecentLines(0.0)
    for caller in (alice, bob):
        caller.upload_photos(1)
    long, other = segmentation(alice), segmentation(bob)
    lease = hand_worker.claim(api, long)
    report(api, lease, percent=40.0)
    with api.state.wiring.database.write() as session:
        jobs.yield_turn(session, lease)
    job = alice("GET", f"segmentations/{long}").json()
    assert (job["status"], job["eta_seconds"], job["percent"], job["attempt"], job["queue_position"]) == ("queued", None, 40.0, 0, 2)
    assert bob("GET", f"segmentations/{other}").json()["queue_position"] == 1
