"""Adaptations that start by themselves, and how stale a model is, on both databases."""

from __future__ import annotations

import re
import threading
from datetime import datetime, timedelta

import pytest
from fastapi import FastAPI
from sqlalchemy import func, select, update

from app import auto_adaptation, jobs
from app.clock import utc_now
from app.jobs import Due
from app.settings import Settings
from app.tables import Image, Job
from tests.app import hand_worker
from tests.app.conftest import Caller, statements_on
from tests.app.photos import jpeg

BOTH_DATABASES = True


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auto_adapt_quiet_seconds": 60.0})


def look(api: FastAPI) -> list[Due]:
    """What a worker does every few seconds."""
    wiring = api.state.wiring
    return auto_adaptation.queue_due(wiring.database, wiring.settings)


def quiet(api: FastAPI) -> None:
    """Let the quiet time pass: everything happened two minutes earlier."""
    earlier = timedelta(seconds=120)
    with api.state.wiring.database.write() as session:
        for image in session.scalars(select(Image)):
            image.created_at -= earlier
        for job in session.scalars(select(Job).where(Job.started_at.is_not(None))):
            assert job.started_at is not None
            job.started_at -= earlier


def switch_on(caller: Caller) -> None:
    answer = caller("PATCH", "settings", json={"auto_adapt": True})
    assert (answer.status_code, answer.json()) == (200, {"auto_adapt": True})


def more_photos(caller: Caller, seeds: range) -> None:
    caller.upload([(f"{seed}.jpg", jpeg(seed=seed)) for seed in seeds])


def jobs_of(caller: Caller) -> list[dict[str, object]]:
    items: list[dict[str, object]] = caller("GET", "adaptations").json()["items"]
    return items


def test_it_is_off_until_it_is_switched_on(alice: Caller, api: FastAPI) -> None:
    assert alice("GET", "settings").json() == {"auto_adapt": False}
    alice.upload_photos(3)
    quiet(api)
    assert look(api) == []
    switch_on(alice)
    assert alice("PATCH", "settings", json={}).json() == {"auto_adapt": True}
    assert len(look(api)) == 1
    assert alice("PATCH", "settings", json={"auto_adapt": False}).json() == {"auto_adapt": False}


@pytest.mark.parametrize("body", [{"auto_adapt": "perhaps"}, {"adapt": True}, []])
def test_nonsense_settings_are_refused(alice: Caller, body: object) -> None:
    assert alice("PATCH", "settings", json=body).json()["code"] == "validation_failed"


def test_settings_are_the_users_own(alice: Caller, bob: Caller) -> None:
    switch_on(alice)
    assert bob("GET", "settings").json() == {"auto_adapt": False}
    assert Caller(bob.client, bob.token, alice.user_id)("GET", "settings").status_code == 404


def test_an_upload_is_let_come_to_its_end_and_makes_one_adaptation(alice: Caller, api: FastAPI) -> None:
    switch_on(alice)
    alice.upload_photos(3)
    assert look(api) == []  # another photo may come any moment
    quiet(api)
    (due,) = look(api)
    (job,) = jobs_of(alice)
    assert (job["id"], job["status"]) == (due.job_id, "queued")
    assert look(api) == []
    hand_worker.adapt(api, due.job_id)
    quiet(api)
    assert look(api) == [] and len(jobs_of(alice)) == 1


@pytest.mark.parametrize(("more", "adapted"), [(1, 0), (3, 1)])
def test_a_fifth_of_the_gallery_must_be_newer(alice: Caller, api: FastAPI, more: int, adapted: int) -> None:
    more_photos(alice, range(10))
    hand_worker.adapt(api, alice("POST", "adaptations").json()["id"])
    quiet(api)
    switch_on(alice)
    more_photos(alice, range(10, 10 + more))
    with api.state.wiring.database.write() as session:
        newest = utc_now() - timedelta(seconds=61)
        session.execute(update(Image).where(Image.created_at > newest).values(created_at=newest))
    assert len(look(api)) == adapted


def test_photos_that_come_during_the_run_are_adapted_to_after_it(alice: Caller, api: FastAPI) -> None:
    switch_on(alice)
    more_photos(alice, range(3))
    quiet(api)
    (first,) = look(api)
    lease = hand_worker.claim(api, first.job_id)
    more_photos(alice, range(3, 6))
    with api.state.wiring.database.write() as session:
        began = utc_now() - timedelta(seconds=100)
        session.execute(update(Job).values(started_at=began))
        session.execute(update(Image).where(Image.created_at > began).values(created_at=utc_now() - timedelta(seconds=70)))
    assert look(api) == []  # one at a time
    with api.state.wiring.database.write() as session:
        jobs.refuse(session, lease, code="x", reason="y")
    assert len(look(api)) == 1


def test_a_refused_adaptation_is_not_tried_again_with_the_same_photos(alice: Caller, api: FastAPI) -> None:
    switch_on(alice)
    alice.upload_photos(3)
    quiet(api)
    (due,) = look(api)
    hand_worker.refuse(api, due.job_id)
    assert look(api) == []


def ended_by(code: str, caller: Caller, api: FastAPI) -> None:
    """An automatic adaptation that has failed with this code."""
    switch_on(caller)
    caller.upload_photos(3)
    quiet(api)
    (due,) = look(api)
    lease = hand_worker.claim(api, due.job_id)
    with api.state.wiring.database.write() as session:
        jobs.fail(session, lease, code=code, reason="For a reason of its own.")


@pytest.mark.parametrize(("code", "again"), [("storage_error", 1), ("database_error", 1), ("internal_error", 0), ("worker_lost", 0)])
def test_what_ended_because_the_store_was_away_is_made_up_for(alice: Caller, api: FastAPI, code: str, again: int) -> None:
    ended_by(code, alice, api)
    assert look(api) == []  # not every few seconds
    with api.state.wiring.database.write() as session:
        session.execute(update(Job).values(finished_at=utc_now() - timedelta(minutes=16)))
    assert (len(look(api)), len(look(api))) == (again, 0)
    assert len(jobs_of(alice)) == 1 + again


def test_an_old_outage_is_forgotten_once_an_adaptation_went_well(alice: Caller, api: FastAPI) -> None:
    ended_by("storage_error", alice, api)
    hand_worker.refuse(api, alice("POST", "adaptations").json()["id"])
    with api.state.wiring.database.write() as session:
        session.execute(update(Job).values(finished_at=utc_now() - timedelta(hours=1)))
    assert look(api) == []


def test_a_gallery_that_is_too_small_and_one_whose_seconds_are_used_up_are_left_alone(
    alice: Caller, bob: Caller, service: Caller, api: FastAPI
) -> None:
    for caller, photos in ((alice, 1), (bob, 3)):
        switch_on(caller)
        caller.upload_photos(photos)
    service("PATCH", f"/v1/users/{bob.user_id}", json={"quotas": {"adaptation_seconds": 0}})
    quiet(api)
    assert look(api) == []


def test_what_the_quota_refused_is_made_up_for_when_there_are_seconds_again(
    alice: Caller, service: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allow(seconds: float | None) -> None:
        service("PATCH", f"/v1/users/{alice.user_id}", json={"quotas": {"adaptation_seconds": seconds}})

    switch_on(alice)
    alice.upload_photos(3)
    quiet(api)
    for refused in (0, 0.5 * api.state.wiring.settings.adaptation_budget_seconds):
        allow(refused)
        with api.state.wiring.database.write() as session:
            used = Job(user_id=alice.user_id, kind="adaptation", status="succeeded", base="b", request={}, report={"seconds": refused})
            used.started_at = used.finished_at = utc_now()
            session.add(used)
        with monkeypatch.context() as patched:
            patched.setattr(type(api.state.wiring.database), "write", None)  # it takes no write lock every few seconds
            assert look(api) == [] and look(api) == []
    allow(None)
    assert len(look(api)) == 1


def test_many_sweepers_and_a_request_at_once_make_one_adaptation(alice: Caller, api: FastAPI) -> None:
    switch_on(alice)
    alice.upload_photos(3)
    quiet(api)
    start = threading.Barrier(5)
    due: list[Due] = []

    def sweeper() -> None:
        start.wait()
        due.extend(look(api))

    def request() -> None:
        start.wait()
        assert alice("POST", "adaptations").status_code == 202

    threads = [*(threading.Thread(target=sweeper) for _ in range(4)), threading.Thread(target=request)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs_of(alice)) == 1 and len(due) <= 1


def test_an_erased_user_is_left_alone(alice: Caller, api: FastAPI) -> None:
    switch_on(alice)
    alice.upload_photos(3)
    quiet(api)
    alice("DELETE")
    assert look(api) == []


def test_a_model_tells_how_stale_it_is(alice: Caller, api: FastAPI) -> None:
    ids = alice.upload_photos(4)
    hand_worker.adapt(api, alice("POST", "adaptations").json()["id"], report={"photos": 4})

    def told() -> tuple[object, ...]:
        (model,) = alice("GET", "models").json()["items"]
        return tuple(model[name] for name in ("stale", "newer_photos", "newer_share", "removed_photos"))

    assert told() == (False, 0, 0.0, 0)
    more_photos(alice, range(900, 901))
    assert told() == (True, 1, 0.2, 0)
    alice("DELETE", f"images/{ids[0]}")
    assert told() == (True, 1, 0.25, 1)


def test_any_number_of_versions_is_listed_with_the_same_few_statements(alice: Caller, api: FastAPI) -> None:
    def listed() -> tuple[int, list[int]]:
        with statements_on(api.state.wiring.database) as sent:
            models = alice("GET", "models").json()["items"]
        assert not any(re.search(r"[^(]jobs\.report", statement) for statement in sent)  # whole; one value of it may be asked for
        return len(sent), [model["newer_photos"] for model in models]

    without, newer = listed()
    assert newer == []
    statements = set()
    for version in range(4):
        more_photos(alice, range(900 + 4 * version, 904 + 4 * version))
        hand_worker.adapt(api, alice("POST", "adaptations").json()["id"])
        count, newer = listed()
        statements.add(count)
    assert newer == [0, 4, 8, 12]
    (with_versions,) = statements
    assert with_versions <= without + 3


def test_a_worker_whose_clock_is_behind_makes_no_model_stale(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(4)
    database = api.state.wiring.database
    with database.read() as session:
        until = session.scalars(select(func.max(Image.created_at))).one().isoformat()
    job_id = alice("POST", "adaptations").json()["id"]
    hand_worker.adapt(api, job_id, report={"photos": 4, "photos_until": until})
    with database.write() as session:
        job = session.get_one(Job, job_id)
        behind = (datetime.fromisoformat(until) - timedelta(seconds=5)).isoformat()
        job.timeline = [{"stage": "loading", "started_at": behind, "finished_at": behind}]
    (model,) = alice("GET", "models").json()["items"]
    assert (model["stale"], model["newer_photos"], model["removed_photos"]) == (False, 0, 0)
    assert alice("POST", "segmentations", json={}).json()["depends_on"] is None
    more_photos(alice, range(900, 901))
    (model,) = alice("GET", "models").json()["items"]
    assert (model["newer_photos"], model["removed_photos"]) == (1, 0)


def test_a_photo_that_comes_or_goes_during_the_run_marks_the_model_stale(alice: Caller, api: FastAPI) -> None:
    ids = alice.upload_photos(3)
    job_id = alice("POST", "adaptations").json()["id"]
    real_claim = hand_worker.claim

    def claim_then_change(api: FastAPI, job_id: str) -> object:
        lease = real_claim(api, job_id)
        more_photos(alice, range(700, 701))
        alice("DELETE", f"images/{ids[0]}")
        return lease

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hand_worker, "claim", claim_then_change)
        hand_worker.adapt(api, job_id, report={"photos": 3})
    (model,) = alice("GET", "models").json()["items"]
    assert (model["stale"], model["newer_photos"], model["removed_photos"]) == (True, 1, 1)
