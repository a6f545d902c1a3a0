"""Quotas: photos, bytes, seconds of adaptation; and uploads of the same photo at the same moment."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from fastapi import FastAPI

from app.clock import utc_now
from app.images.multipart import FileWriter
from app.images.service import store
from app.tables import Job, JobKind, JobStatus
from tests.app.conftest import Caller, statements_on
from tests.app.photos import jpeg

BOTH_DATABASES = True


@pytest.fixture
def allow(service: Caller, alice: Caller) -> Callable[..., None]:
    def change(**quotas: float | None) -> None:
        answer = service("PATCH", f"/v1/users/{alice.user_id}", json={"quotas": quotas})
        assert answer.status_code == 200, answer.text

    return change


def test_quotas_are_told_changed_and_taken_back(service: Caller, alice: Caller, bob: Caller, allow: Callable[..., None]) -> None:
    alice.upload([("a.jpg", jpeg())])
    allow(images=5, bytes=10_000)
    told = alice("GET", "quotas").json()
    assert told["images"] == {"limit": 5, "used": 1, "is_own": True}
    assert told["bytes"] == {"limit": 10_000, "used": len(jpeg()), "is_own": True}
    assert told["adaptation_seconds"]["is_own"] is False
    allow(images=None)
    told = alice("GET", "quotas").json()
    assert told["images"]["is_own"] is False and told["bytes"]["is_own"] is True
    assert bob("GET", "quotas").json()["bytes"]["is_own"] is False


def test_only_the_service_may_change_them(alice: Caller, bob: Caller, service: Caller) -> None:
    body = {"quotas": {"images": 10**9}}
    assert alice("PATCH", json=body).json()["code"] == "service_token_needed"
    assert alice("GET", f"/v1/users/{bob.user_id}/quotas").json()["code"] == "user_not_found"
    unknown = "/v1/users/0198f2c4-0000-7000-8000-000000000000"
    assert service("PATCH", unknown, json=body).status_code == 404
    for bad in ({"quotas": {"images": -1}}, {"quotas": {"photos": 1}}, {}, {"quotas": {"images": 2**63}}):
        assert service("PATCH", f"/v1/users/{alice.user_id}", json=bad).status_code == 422


def test_photos_past_the_quota_are_refused_and_the_rest_stored(alice: Caller, bob: Caller, allow: Callable[..., None]) -> None:
    allow(images=2)
    results = alice.upload([(f"{seed}.jpg", jpeg(seed=seed)) for seed in range(4)])
    assert [entry["status"] for entry in results] == ["stored", "stored", "rejected", "rejected"]
    assert {entry["code"] for entry in results[2:]} == {"quota_exceeded"}
    # Sending again what is there stays harmless; what is new is a matter for the whole request.
    assert alice.upload([("0.jpg", jpeg(seed=0))])[0]["status"] == "duplicate"
    answer = alice("POST", "images", files=[("files", ("new.jpg", jpeg(seed=9)))])
    assert (answer.status_code, answer.json()["code"]) == (507, "quota_exceeded")
    assert bob.upload([("0.jpg", jpeg(seed=0))])[0]["status"] == "stored"
    alice("DELETE", f"images/{results[0]['image_id']}")
    assert alice.upload([("new.jpg", jpeg(seed=9))])[0]["status"] == "stored"


def test_bytes_are_counted_as_they_were_uploaded(alice: Caller, allow: Callable[..., None]) -> None:
    first, second = jpeg(seed=1), jpeg(seed=2)
    allow(bytes=len(first) + len(second) - 1)
    assert [entry["code"] for entry in alice.upload([("1", first), ("2", second)])] == [None, "quota_exceeded"]
    allow(bytes=len(first) + len(second))
    assert alice.upload([("2", second)])[0]["status"] == "stored"


def test_one_photo_segmented_at_once_is_counted_too(alice: Caller, allow: Callable[..., None]) -> None:
    allow(images=0)
    answer = alice("POST", "segment", content=jpeg())
    assert (answer.status_code, answer.json()["code"]) == (507, "quota_exceeded")


def ended_adaptation(
    api: FastAPI, user_id: str, *, hours_ago: float, seconds: float, budget: float | None = 900.0, report: dict[str, float] | None = None
) -> None:
    finished = utc_now() - timedelta(hours=hours_ago)
    request = {} if budget is None else {"budget_seconds": budget}
    job = Job(user_id=user_id, kind=JobKind.ADAPTATION, status=JobStatus.REFUSED, base="tiny", request=request, report=report)
    job.started_at, job.finished_at = finished - timedelta(seconds=seconds), finished
    with api.state.wiring.database.write() as session:
        session.add(job)


def test_adaptations_take_from_the_seconds_of_a_day(api: FastAPI, alice: Caller, allow: Callable[..., None]) -> None:
    alice.upload_photos(3)
    ended_adaptation(api, alice.user_id, hours_ago=25, seconds=900)
    ended_adaptation(api, alice.user_id, hours_ago=23, seconds=200)
    ended_adaptation(api, alice.user_id, hours_ago=1, seconds=300)
    allow(adaptation_seconds=600)
    assert math.isclose(alice("GET", "quotas").json()["adaptation_seconds"]["used"], 500, abs_tol=1)
    refused = alice("POST", "adaptations", json={"budget_seconds": 150})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    # When the one of 23 hours ago is a day old, 150 seconds fit again.
    assert 3500 <= int(refused.headers["Retry-After"]) <= 3601
    assert alice("POST", "adaptations", json={"budget_seconds": 100}).status_code == 202
    # The same request is the job under way, not another one.
    assert alice("POST", "adaptations", json={"budget_seconds": 100}).status_code == 202


def test_a_budget_that_the_quota_never_allows_is_no_matter_of_waiting(alice: Caller, allow: Callable[..., None]) -> None:
    alice.upload_photos(2)
    allow(adaptation_seconds=100)
    refused = alice("POST", "adaptations", json={"budget_seconds": 101})
    assert (refused.status_code, refused.json()["code"]) == (422, "budget_too_large")
    job = alice("POST", "adaptations").json()
    assert alice("GET", "quotas").json()["adaptation_seconds"]["used"] == 100, "without a budget, what the quota has"
    alice("POST", f"adaptations/{job['id']}/cancel")
    allow(adaptation_seconds=0)
    for body in ({}, {"budget_seconds": 1}):
        assert alice("POST", "adaptations", json=body).json()["code"] == "quota_exceeded"


@pytest.mark.parametrize(
    ("budget", "report", "counted"),
    [(300.0, None, 300), (None, None, 240), (300.0, {"seconds": 123.0}, 123), (300.0, {"verdict": 1.0}, 300)],
)
def test_hours_of_waiting_are_no_adaptation(
    api: FastAPI, alice: Caller, budget: float | None, report: dict[str, float] | None, counted: float
) -> None:
    """It began, its worker's laptop slept for half a day, and then it came to its end."""
    ended_adaptation(api, alice.user_id, hours_ago=1, seconds=12 * 3600, budget=budget, report=report)
    assert api.state.wiring.settings.adaptation_budget_seconds == 240
    assert math.isclose(alice("GET", "quotas").json()["adaptation_seconds"]["used"], counted, abs_tol=1)


def test_reports_are_not_read_to_count_seconds(api: FastAPI, alice: Caller) -> None:
    ended_adaptation(api, alice.user_id, hours_ago=1, seconds=50, report={"seconds": 20.0, "photos": 3.0})
    with statements_on(api.state.wiring.database) as sent:
        assert alice("GET", "quotas").json()["adaptation_seconds"]["used"] == 20
    assert not any("jobs.timeline" in statement for statement in sent)


def test_an_adaptation_under_way_counts_with_its_budget(api: FastAPI, alice: Caller) -> None:
    alice.upload_photos(3)
    job_id = alice("POST", "adaptations", json={"budget_seconds": 100}).json()["id"]
    with api.state.wiring.database.write() as session:
        session.get_one(Job, job_id).started_at = utc_now() - timedelta(hours=12)
    assert alice("GET", "quotas").json()["adaptation_seconds"]["used"] == 100


def test_without_seconds_left_auto_goes_on_with_the_model_there_is(api: FastAPI, alice: Caller, allow: Callable[..., None]) -> None:
    alice.upload_photos(3)
    allow(adaptation_seconds=0)
    told = alice("POST", "segmentations", json={"image_ids": "all", "adapt": "auto"})
    assert told.status_code == 202 and told.json()["depends_on"] is None
    refused = alice("POST", "segmentations", json={"image_ids": "all", "adapt": "always"})
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert int(refused.headers["Retry-After"]) > 0


def uploaded_at_once(api: FastAPI, user_id: str, photos: list[bytes]) -> list[str | None]:
    """What becomes of photos whose uploads all reach the gallery at the same moment: status, or code."""
    ready = threading.Barrier(len(photos))
    wiring = api.state.wiring

    def upload(data: bytes) -> str | None:
        writer = FileWriter("a.jpg", 10**7)
        writer.write(data)
        received = writer.finish()
        ready.wait(60)
        result = store(wiring, user_id, received)
        return result.code or result.status

    with ThreadPoolExecutor(len(photos)) as threads:
        return list(threads.map(upload, photos))


def test_the_same_photo_eight_times_at_once_is_stored_once(api: FastAPI, alice: Caller) -> None:
    for seed in range(4):
        results = uploaded_at_once(api, alice.user_id, [jpeg(seed=seed)] * 8)
        assert sorted(str(result) for result in results) == ["duplicate"] * 7 + ["stored"]
    items = alice("GET", "images").json()["items"]
    assert len(items) == 4
    for item in items:
        assert alice("GET", f"images/{item['id']}/content").status_code == 200


def test_the_last_place_is_given_once(api: FastAPI, alice: Caller, allow: Callable[..., None]) -> None:
    allow(images=3)
    results = uploaded_at_once(api, alice.user_id, [jpeg(seed=seed) for seed in range(8)])
    assert sorted(str(result) for result in results) == ["quota_exceeded"] * 5 + ["stored"] * 3
    held = api.state.wiring.storage.keys(f"users/{alice.user_id}/photos")
    assert len(held) == len(alice("GET", "images").json()["items"]) == 3


def test_the_last_place_and_the_same_photo(api: FastAPI, alice: Caller, allow: Callable[..., None]) -> None:
    allow(images=1)
    results = uploaded_at_once(api, alice.user_id, [jpeg()] * 6)
    assert sorted(str(result) for result in results) == ["duplicate"] * 5 + ["stored"]
