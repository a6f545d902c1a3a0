"""One adaptation per user, whoever asks and however often, and segmentations meanwhile; on both databases."""

from __future__ import annotations

import threading

from fastapi import FastAPI
from sqlalchemy import select

from app import turns
from app.tables import Job, JobKind, JobStatus
from tests.app import hand_worker
from tests.app.conftest import Caller

BOTH_DATABASES = True


def test_requests_of_both_kinds_at_once_share_one_adaptation(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    start = threading.Barrier(8)
    adaptations: set[str] = set()
    statuses: list[int] = []

    def adapt() -> None:
        start.wait()
        answer = alice("POST", "adaptations")
        statuses.append(answer.status_code)
        adaptations.add(answer.json()["id"])

    def segment() -> None:
        start.wait()
        answer = alice("POST", "segmentations", json={"adapt": "always"})
        statuses.append(answer.status_code)
        adaptations.add(answer.json()["depends_on"])

    threads = [threading.Thread(target=target) for target in (adapt, segment) * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [202] * 8 and len(adaptations) == 1
    with api.state.wiring.database.read() as session:
        assert len(session.scalars(select(Job).where(Job.kind == JobKind.ADAPTATION)).all()) == 1


def test_a_request_during_the_run_returns_the_running_one(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    job_id = alice("POST", "adaptations").json()["id"]
    hand_worker.claim(api, job_id)
    again = alice("POST", "adaptations", json={"seed": 7}).json()
    assert (again["id"], again["status"]) == (job_id, "running")


def test_segmentations_go_on_during_the_adaptation_with_the_model_in_use(alice: Caller, api: FastAPI) -> None:
    ids = alice.upload_photos(2)
    hand_worker.adapt(api, alice("POST", "adaptations").json()["id"])
    running = alice("POST", "adaptations").json()["id"]
    hand_worker.claim(api, running)
    for adapt, image in (("never", ids[0]), ("auto", ids[1])):
        job = alice("POST", "segmentations", json={"adapt": adapt, "image_ids": [image]}).json()
        assert job["depends_on"] is None
        with api.state.wiring.database.read() as session:
            assert turns.next_jobs(session, JobKind.SEGMENTATION) == [job["id"]]
        hand_worker.segment(api, job["id"])
        assert alice("GET", f"segmentations/{job['id']}").json()["model_used"] == 1
    assert alice("GET", f"adaptations/{running}").json()["status"] == JobStatus.RUNNING
