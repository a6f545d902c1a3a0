"""Adaptations from outside."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import redis
from fastapi import FastAPI
from sqlalchemy import update

from app import jobs
from app.main import create_app
from app.settings import Settings
from app.tables import Job
from tests.app import hand_worker
from tests.app.conftest import Caller, TestClient
from tests.conftest import free_port

BOTH_DATABASES = True


def events_of(text: str) -> list[dict[str, Any]]:
    """The documents of a stream of server-sent events, with their ids under "event_id"."""
    events = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            events.append({**json.loads(fields["data"]), "event_id": fields["id"]})
    return events


def rung(redis_url: str, queue: str) -> list[str]:
    """The job ids that wait in this queue."""
    messages = redis.Redis.from_url(redis_url).hvals(f"dramatiq:{queue}.msgs")
    return [json.loads(message)["args"][0] for message in messages]  # type: ignore[union-attr]


def test_starting_queues_a_job_and_rings(alice: Caller, redis_url: str) -> None:
    alice.upload_photos(2)
    answer = alice("POST", "adaptations", json={"budget_seconds": 12, "seed": 3})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/users/{alice.user_id}/adaptations/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert (job["status"], job["queue_position"], job["attempt"], job["percent"]) == ("queued", 1, 0, 0)
    assert rung(redis_url, "adaptation") == [job["id"]]
    assert alice("GET", f"adaptations/{job['id']}").json() == job


def test_while_one_is_under_way_that_one_is_returned(alice: Caller, bob: Caller, api: FastAPI) -> None:
    for caller in (alice, bob):
        caller.upload_photos(2)
    first = alice("POST", "adaptations").json()["id"]
    assert bob("POST", "adaptations").json()["id"] != first
    assert alice("POST", "adaptations").json()["id"] == first
    lease = hand_worker.claim(api, first)
    assert alice("POST", "adaptations").json()["id"] == first
    with api.state.wiring.database.write() as session:
        jobs.fail(session, lease, code="x", reason="y")
    second = alice("POST", "adaptations").json()["id"]
    assert second != first
    assert [job["id"] for job in alice("GET", "adaptations").json()["items"]] == [second, first]


def test_one_that_was_cancelled_and_has_not_ended_does_nothing_more(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    first = alice("POST", "adaptations").json()["id"]
    lease = hand_worker.claim(api, first)
    cancelling = alice("POST", f"adaptations/{first}/cancel").json()
    assert (cancelling["status"], cancelling["cancel_requested"]) == ("running", True)
    for path, body in (("adaptations", {}), ("segmentations", {"adapt": "always"})):
        answer = alice("POST", path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "adaptation_ending")
        assert answer.json()["job"].endswith(first)
    automatic = alice("POST", "segmentations", json={"adapt": "auto"})
    assert (automatic.status_code, automatic.json()["depends_on"]) == (202, None)
    with api.state.wiring.database.write() as session:
        jobs.cancel(session, lease)
    assert alice("POST", "adaptations").json()["id"] != first


@pytest.mark.parametrize(("wish", "code"), [({"budget_seconds": 1e9}, "budget_too_large"), ({"base": "nope"}, "unknown_base")])
def test_nonsense_is_refused_also_while_one_is_under_way(alice: Caller, api: FastAPI, wish: dict[str, object], code: str) -> None:
    hand_worker.register(api, "tiny")
    alice.upload_photos(2)
    assert alice("POST", "adaptations").status_code == 202
    answer = alice("POST", "adaptations", json=wish)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


def test_many_requests_at_once_make_one_job(alice: Caller) -> None:
    alice.upload_photos(2)
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(alice("POST", "adaptations").json()["id"])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6 and len(set(ids)) == 1


@pytest.mark.parametrize(("photos", "code"), [(0, "gallery_empty"), (1, "gallery_too_small")])
def test_too_few_photos_are_a_conflict(alice: Caller, photos: int, code: str) -> None:
    if photos:
        alice.upload_photos(photos)
    for path, body in (("adaptations", {}), ("segmentations", {"adapt": "always"})):
        answer = alice("POST", path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, code)
    assert alice("GET", "adaptations").json()["items"] == []


@pytest.mark.parametrize("body", [{"budget_seconds": 0}, {"budget_seconds": "soon"}, {"seed": -1}, {"sede": 1}, {"base": ""}, []])
def test_a_nonsense_wish_is_refused(alice: Caller, body: object) -> None:
    alice.upload_photos(2)
    answer = alice("POST", "adaptations", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")


def test_a_budget_past_the_bound_is_refused(alice: Caller, settings: Settings) -> None:
    alice.upload_photos(2)
    answer = alice("POST", "adaptations", json={"budget_seconds": settings.max_adaptation_budget_seconds + 1})
    assert (answer.status_code, answer.json()["code"]) == (422, "budget_too_large")


@pytest.mark.parametrize(
    ("path", "bodies"),
    [
        ("adaptations", ({"seed": 1}, {"seed": 2})),
        ("segmentations", ({"adapt": "never"}, {"adapt": "never", "model": "base"})),
    ],
)
def test_an_idempotency_key_makes_one_job(alice: Caller, bob: Caller, api: FastAPI, path: str, bodies: tuple[object, object]) -> None:
    for caller in (alice, bob):
        caller.upload_photos(2)
    key = {"Idempotency-Key": "once"}
    first = alice("POST", path, json=bodies[0], headers=key).json()["id"]
    alice("POST", f"{path}/{first}/cancel")  # so that an adaptation would not be returned for being under way
    again = alice("POST", path, json=bodies[0], headers=key)
    assert (again.status_code in (200, 202), again.json()["id"]) == (True, first)
    conflict = alice("POST", path, json=bodies[1], headers=key)
    assert (conflict.status_code, conflict.json()["code"]) == (422, "idempotency_conflict")
    assert bob("POST", path, json=bodies[0], headers=key).json()["id"] != first
    assert alice("POST", path, json=bodies[0]).json()["id"] != first


def test_progress_and_end_are_shown(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    job_id = alice("POST", "adaptations").json()["id"]
    lease = hand_worker.claim(api, job_id)
    with api.state.wiring.database.write() as session:
        jobs.report_progress(session, lease, stage="training", step=3, steps=12, percent=25, eta_seconds=9.5)
    answer = alice("GET", f"adaptations/{job_id}")
    job = answer.json()
    shown = {name: job[name] for name in ("status", "stage", "step", "steps", "percent", "eta_seconds", "queue_position")}
    assert shown == {
        "status": "running",
        "stage": "training",
        "step": 3,
        "steps": 12,
        "percent": 25.0,
        "eta_seconds": 9.5,
        "queue_position": None,
    }
    assert answer.headers["retry-after"] == "1"
    with api.state.wiring.database.write() as session:
        jobs.refuse(session, lease, code="class_collapse", reason="Everything became sky.", report={"a": 1})
    answer = alice("GET", f"adaptations/{job_id}")
    job = answer.json()
    assert (job["status"], job["error_code"], job["report"]) == ("refused", "class_collapse", {"a": 1})
    assert job["finished_at"] and "retry-after" not in answer.headers


def test_cancelling_twice_is_one_cancelling(alice: Caller) -> None:
    alice.upload_photos(2)
    job_id = alice("POST", "adaptations").json()["id"]
    for _ in range(2):
        answer = alice("POST", f"adaptations/{job_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")


def test_events_follow_the_job_to_its_end(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    job_id = alice("POST", "adaptations").json()["id"]
    lease = hand_worker.claim(api, job_id)
    started = threading.Event()

    def work() -> None:
        started.wait()
        with api.state.wiring.database.write() as session:
            jobs.succeed(session, lease, model_version=1)

    worker = threading.Timer(0.6, work)
    worker.start()
    started.set()
    answer = alice("GET", f"adaptations/{job_id}/events")
    worker.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert [event["status"] for event in events] == ["running", "succeeded"]
    assert all(event["event_id"] == str(event["revision"]) for event in events)
    resumed = alice("GET", f"adaptations/{job_id}/events", headers={"Last-Event-ID": events[0]["event_id"]})
    assert [event["status"] for event in events_of(resumed.text)] == ["succeeded"]
    seen = alice("GET", f"adaptations/{job_id}/events", headers={"Last-Event-ID": events[1]["event_id"]})
    assert (seen.status_code, seen.content) == (204, b"")


def test_without_redis_the_request_is_accepted_and_the_row_waits(settings: Settings, alice: Caller) -> None:
    alice.upload_photos(2)
    without = settings.model_copy(update={"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    with TestClient(create_app(without)) as client:
        caller = Caller(client, alice.token, alice.user_id)
        answer = caller("POST", "adaptations")
        assert (answer.status_code, answer.json()["status"]) == (202, "queued")


@pytest.mark.parametrize(
    "report",
    [
        {"verdict": {"accepted": True, "code": "accepted", "sentence": "Good.", "figures": {}}, "photos": 2, "groups": []},
        {"verdict": "accepted", "classes": "of a version that wrote no list", "photos_compared": None},
        {
            "classes": [{"id": 12, "name": "dog", "area_before": 0.1, "area_after": 0.2, "sure_kept": None, "reason": "Grew."}],
            "photos_compared": [{"id": "x", "changed": 0.1, "classes": [], "reason": "The dog grew."}],
            "of_a_later_version": [1, {"a": None}],
        },
    ],
)
def test_a_report_is_served_as_it_was_stored(alice: Caller, api: FastAPI, report: dict[str, object]) -> None:
    alice.upload_photos(2)
    job_id = alice("POST", "adaptations").json()["id"]
    hand_worker.adapt(api, job_id, report=report)
    assert alice("GET", f"adaptations/{job_id}").json()["report"] == report
    listed = {name: value for name, value in report.items() if name != "groups"}
    assert alice("GET", "adaptations").json()["items"][0]["report"] == listed
    assert alice("GET", "models").json()["items"][0]["report"] == listed
    assert alice("POST", "models/1/activate").json()["report"] == report


def test_lists_do_not_name_every_photo_of_a_gallery(alice: Caller, api: FastAPI) -> None:
    image_ids = alice.upload_photos(3)
    report = {"photos": 3, "groups": [{"index": 0, "photos": image_ids, "size": 3}]}
    job_id = alice("POST", "adaptations").json()["id"]
    hand_worker.adapt(api, job_id, report=report)
    for path in ("adaptations", "models"):
        answer = alice("GET", path)
        assert answer.json()["items"][0]["report"] == {"photos": 3}
        assert not any(image_id in answer.text for image_id in image_ids)
    assert alice("GET", f"adaptations/{job_id}").json()["report"] == report
    assert alice("GET", "adaptations").json()["items"][0]["report"] == {"photos": 3}, "what is shown changes nothing that is held"


def test_a_report_that_is_no_json_to_the_database_is_listed(alice: Caller, api: FastAPI) -> None:
    database = api.state.wiring.database
    if database.engine.dialect.name != "sqlite":
        pytest.skip("PostgreSQL has taken none")
    alice.upload_photos(2)
    job_id = alice("POST", "adaptations").json()["id"]
    hand_worker.refuse(api, job_id)
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(report={"photos": 2, "loss": float("nan")}))
    assert alice("GET", "adaptations").json()["items"][0]["report"] == {"photos": 2, "loss": None}


def test_a_running_adaptation_is_listed_without_a_report(alice: Caller) -> None:
    alice.upload_photos(2)
    alice("POST", "adaptations")
    assert alice("GET", "adaptations").json()["items"][0]["report"] is None


def test_the_document_describes_the_report(api: FastAPI) -> None:
    schemas = api.openapi()["components"]["schemas"]
    for name in ("AdaptationDocument", "ModelDocument"):
        shown = schemas[name]["properties"]["report"]
        described = next(option for option in shown.get("anyOf", [shown]) if "properties" in option)["properties"]
        assert {"verdict", "groups", "classes", "photos_compared"} <= described.keys()
    assert {"reason", "area_before", "sure_kept"} <= schemas["ClassChange"]["properties"].keys()
    assert {"reason", "changed", "classes"} <= schemas["PhotoChange"]["properties"].keys()
