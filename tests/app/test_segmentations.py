"""Segmentations from outside, masks in every format, and the one-photo route."""

from __future__ import annotations

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from PIL import Image
from sqlalchemy import event, select, update
from sqlalchemy.orm import Session

from app import job_documents, jobs
from app.personal_models import repository as model_repository
from app.personal_models import service as model_service
from app.segmentations import repository
from app.storage import user_prefix
from app.tables import Image as Photo
from app.tables import Job, Mask, PersonalModel, SegmentationItem
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.photos import encoded, jpeg, jpeg_with_exif, picture
from tests.app.test_adaptations import rung


def segment(caller: Caller, api: FastAPI, **wish: object) -> str:
    """Start a segmentation and do it; returns the job's id."""
    job_id = str(caller("POST", "segmentations", json={"adapt": "never", **wish}).json()["id"])
    hand_worker.segment(api, job_id)
    return job_id


def adapted(caller: Caller, api: FastAPI) -> int:
    """Start an adaptation and do it; returns the version."""
    return hand_worker.adapt(api, caller("POST", "adaptations").json()["id"])


def test_a_segmentation_has_one_entry_per_photo_in_the_order_asked(alice: Caller, api: FastAPI, redis_url: str) -> None:
    first, second, third = alice.upload_photos(3)
    wish = {"image_ids": [third, first, third], "adapt": "never"}
    answer = alice("POST", "segmentations", json=wish)
    job = answer.json()
    assert answer.status_code == 202 and answer.headers["location"].endswith(f"/segmentations/{job['id']}")
    assert [item["image_id"] for item in job["items"]] == [third, first]
    assert rung(redis_url, "segmentation") == [job["id"]] and rung(redis_url, "adaptation") == []
    hand_worker.segment(api, job["id"], failing=first)
    job = alice("GET", f"segmentations/{job['id']}").json()
    assert (job["status"], job["model_used"]) == ("succeeded", "base")
    assert [item["status"] for item in job["items"]] == ["done", "failed"]
    assert job["items"][1]["error_code"] == "out_of_memory" and job["items"][1]["mask_url"] is None
    assert alice("GET", job["items"][0]["mask_url"]).status_code == 200
    assert second not in str(job)


def test_a_job_can_be_polled_without_its_photos(alice: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = alice.upload_photos(2)
    job_id = alice("POST", "segmentations", json={"adapt": "never"}).json()["id"]
    queued = alice("GET", f"segmentations/{job_id}", params={"items": False})
    assert (queued.json()["queue_position"], queued.headers["retry-after"]) == (1, "2")
    hand_worker.segment(api, job_id, failing=first)
    whole = alice("GET", f"segmentations/{job_id}")
    assert len(whole.json()["items"]) == 2 and alice("GET", f"segmentations/{job_id}?items=true").json() == whole.json()

    monkeypatch.setattr(repository, "items", lambda *_: pytest.fail("the photos were read"))
    counted = alice("GET", f"segmentations/{job_id}?items=false")
    assert counted.json() == {name: value for name, value in whole.json().items() if name != "items"}
    assert counted.json()["item_counts"] == {"pending": 0, "done": 1, "failed": 1}
    assert counted.headers["location"] == whole.headers["location"]
    assert alice("GET", f"segmentations/{job_id}?items=some").json()["code"] == "validation_failed"


def test_the_document_tells_both_answers_of_a_polled_job(api: FastAPI) -> None:
    operation = api.openapi()["paths"]["/v1/users/{user_id}/segmentations/{job_id}"]["get"]
    shown = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert [option["$ref"].rsplit("/", 1)[1] for option in shown] == ["SegmentationDocument", "SegmentationSummary"]
    assert ("items", True) in {(parameter["name"], parameter["schema"].get("default")) for parameter in operation["parameters"]}


def test_no_object_is_made_of_each_photo_of_a_job(alice: Caller) -> None:
    alice.upload_photos(2)
    job = alice("POST", "segmentations", json={"adapt": "never"}).json()
    made: list[object] = []

    def note(row: object, _context: object) -> None:
        made.append(row)

    event.listen(SegmentationItem, "load", note)
    try:
        assert len(alice("GET", f"segmentations/{job['id']}").json()["items"]) == 2
    finally:
        event.remove(SegmentationItem, "load", note)
    assert made == []


def test_who_lets_too_many_wait_is_asked_to_come_back(alice: Caller, bob: Caller, api: FastAPI) -> None:
    api.state.wiring.settings.__dict__["max_unfinished_segmentations"] = 2
    wish = {"image_ids": alice.upload_photos(1), "adapt": "never"}
    first, _ = (alice("POST", "segmentations", json=wish, headers={"Idempotency-Key": key}).json()["id"] for key in "ab")
    refused = alice("POST", "segmentations", json=wish)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_unfinished")
    assert int(refused.headers["retry-after"]) >= 1
    one_photo = alice("POST", "segment", content=jpeg(), headers={"Content-Type": "image/jpeg"})
    assert (one_photo.status_code, one_photo.json()["code"]) == (429, "too_many_unfinished")

    again = alice("POST", "segmentations", json=wish, headers={"Idempotency-Key": "a"})
    assert (again.status_code, again.json()["id"]) == (202, first), "what was accepted is still told"
    his = {"image_ids": bob.upload_photos(1), "adapt": "never"}
    assert bob("POST", "segmentations", json=his).status_code == 202, "others have their own"
    hand_worker.segment(api, first)
    assert alice("POST", "segmentations", json=wish).status_code == 202, "there is room again"


@pytest.mark.parametrize(
    ("wish", "status", "code"),
    [
        ({"image_ids": []}, 422, "validation_failed"),
        ({"image_ids": ["x"]}, 422, "validation_failed"),
        ({"image_ids": "some"}, 422, "validation_failed"),
        ({"image_ids": [str(uuid4())]}, 404, "image_not_found"),
        ({"model": 7}, 404, "model_not_found"),
        ({"model": 0}, 422, "validation_failed"),
        ({"model": "other"}, 422, "validation_failed"),
        ({"adapt": "perhaps"}, 422, "validation_failed"),
        ({"wait": 31}, 422, "wait_too_long"),
        ({"wait": -1}, 422, "validation_failed"),
    ],
)
def test_a_nonsense_wish_is_refused_and_makes_no_job(alice: Caller, wish: dict[str, object], status: int, code: str) -> None:
    alice.upload_photos(2)
    answer = alice("POST", "segmentations", json={"adapt": "never", **wish})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert alice("GET", "segmentations").json()["items"] == []


@pytest.mark.parametrize("image_ids", ["all", None])
def test_more_photos_than_one_job_takes_are_refused_with_the_limit(alice: Caller, api: FastAPI, image_ids: object) -> None:
    images = alice.upload_photos(3)
    api.state.wiring.settings.__dict__["max_segmentation_images"] = 2
    refused = alice("POST", "segmentations", json={"image_ids": image_ids or images}).json()
    assert (refused["status"], refused["code"], refused["most"]) == (422, "too_many_images", 2)
    assert alice("POST", "segmentations", json={"image_ids": images[:2]}).status_code == 202


def test_an_empty_gallery_cannot_be_segmented(alice: Caller) -> None:
    answer = alice("POST", "segmentations", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "gallery_empty")


def test_auto_adapts_first_when_there_is_no_model(alice: Caller, api: FastAPI, redis_url: str) -> None:
    alice.upload_photos(2)
    job = alice("POST", "segmentations", json={}).json()
    (adaptation,) = alice("GET", "adaptations").json()["items"]
    assert job["depends_on"] == adaptation["id"]
    assert rung(redis_url, "adaptation") == [adaptation["id"]] and rung(redis_url, "segmentation") == []
    version = hand_worker.adapt(api, adaptation["id"])
    hand_worker.segment(api, job["id"])
    assert alice("GET", f"segmentations/{job['id']}").json()["model_used"] == version


def test_auto_adapts_again_only_past_a_fifth_of_new_photos(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(9)
    adapted(alice, api)

    def depends_on() -> object:
        return alice("POST", "segmentations", json={}).json()["depends_on"]

    assert depends_on() is None
    alice.upload([("new.jpg", jpeg(seed=901))])  # 1 of 10 is newer
    assert depends_on() is None
    alice.upload([("new.jpg", jpeg(seed=902)), ("new.jpg", jpeg(seed=903))])  # 3 of 12
    assert depends_on() is not None


def test_auto_does_not_repeat_a_refused_adaptation(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(4)
    first = alice("POST", "segmentations", json={}).json()
    hand_worker.refuse(api, first["depends_on"])
    hand_worker.segment(api, first["id"])
    assert alice("GET", f"segmentations/{first['id']}").json()["model_used"] == "base"
    assert alice("POST", "segmentations", json={}).json()["depends_on"] is None
    assert alice("POST", "segmentations", json={"adapt": "always"}).json()["depends_on"] is not None


def test_auto_adapts_once_where_the_models_file_is_lost(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(4)
    adapted(alice, api)

    def next_job() -> dict[str, Any]:
        job: dict[str, Any] = alice("POST", "segmentations", json={}).json()
        return job

    first = next_job()
    assert first["depends_on"] is None
    lease = hand_worker.claim(api, first["id"])
    with api.state.wiring.database.write() as session:
        jobs.pin_model_version(session, lease, 1)
        jobs.fail(session, lease, code="model_file_invalid", reason="Its file is gone.")
    second = next_job()
    assert second["depends_on"] is not None
    hand_worker.refuse(api, second["depends_on"])
    assert next_job()["depends_on"] is None, "the same photos would be refused again"


@pytest.mark.parametrize("wish", [{"model": "base"}, {"adapt": "never"}])
def test_no_adaptation_where_none_is_needed(alice: Caller, wish: dict[str, object]) -> None:
    alice.upload_photos(2)
    assert alice("POST", "segmentations", json=wish).json()["depends_on"] is None


def test_one_photo_alone_is_segmented_without_adapting(alice: Caller) -> None:
    alice.upload_photos(1)
    answer = alice("POST", "segmentations", json={"adapt": "auto"})
    assert (answer.status_code, answer.json()["depends_on"]) == (202, None)


def test_cancelling_the_adaptation_lets_the_segmentation_go_on(alice: Caller, redis_url: str) -> None:
    alice.upload_photos(2)
    job = alice("POST", "segmentations", json={}).json()
    alice("POST", f"adaptations/{job['depends_on']}/cancel")
    assert rung(redis_url, "segmentation") == [job["id"]]
    cancelled = alice("POST", f"segmentations/{job['id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")


def work_when_asked(api: FastAPI) -> threading.Thread:
    """A worker in a thread, which does the first segmentation that comes."""

    def work() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with api.state.wiring.database.read() as session:
                job_id = session.scalar(select(Job.id).where(Job.kind == "segmentation", Job.status == "queued"))
            if job_id is not None:
                hand_worker.segment(api, job_id)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_wait_answers_as_soon_as_it_is_done(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(1)
    worker = work_when_asked(api)
    answer = alice("POST", "segmentations", json={"adapt": "never", "wait": 30})
    worker.join()
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert "retry-after" not in answer.headers


def test_wait_is_bounded(alice: Caller) -> None:
    alice.upload_photos(1)
    answer = alice("POST", "segmentations", json={"adapt": "never", "wait": 0.2})
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_waiting_reads_the_photos_once(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.upload_photos(1)
    read, items = [], repository.items
    monkeypatch.setattr(repository, "items", lambda *of: (read.append(of), items(*of))[1])
    answer = alice("POST", "segmentations", json={"adapt": "never", "wait": 0.5})
    assert (answer.status_code, answer.json()["status"], len(answer.json()["items"])) == (202, "queued", 1)
    assert len(read) == 1


def test_who_waits_long_asks_less_often(alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.upload_photos(1)
    asked, has_ended = [], job_documents.has_ended
    monkeypatch.setattr(job_documents, "has_ended", lambda *of: (asked.append(of), has_ended(*of))[1])
    alice("POST", "segmentations", json={"adapt": "never", "wait": 1.5})
    assert 2 <= len(asked) <= 8  # every tenth of a second would be fifteen


def test_masks_come_in_every_format_at_the_upright_size(alice: Caller, api: FastAPI) -> None:
    image_id = alice.upload([("a.jpg", jpeg_with_exif(orientation=6))])[0]["image_id"]
    segment(alice, api)
    path = f"images/{image_id}/mask"
    answers = {name: alice("GET", path, params={"format": name}) for name in ("png", "overlay", "confidence")}
    for answer in answers.values():
        assert answer.headers["content-type"] == "image/png" and answer.headers["x-model-version"] == "0"
        with Image.open(io.BytesIO(answer.content)) as picture:
            assert picture.size == (48, 64)
    with Image.open(io.BytesIO(answers["png"].content)) as labels:
        assert labels.mode == "P" and labels.getpixel((5, 0)) == 0 and labels.getpixel((5, 1)) == hand_worker.LABEL
    document = alice("GET", path, params={"format": "json"}).json()
    assert (document["width"], document["height"], document["model_version"]) == (48, 64, 0)
    assert sum(entry["area_share"] for entry in document["classes"]) == pytest.approx(1)
    rle = alice("GET", path, params={"format": "rle"}).json()
    assert [entry["segmentation"]["size"] for entry in rle["segments"]] == [[64, 48]] * 2


def test_the_overlay_leaves_the_background_as_it_is(alice: Caller, api: FastAPI) -> None:
    grey = Image.new("RGB", (10, 10), (100, 100, 100))
    image_id = alice.upload([("a.png", encoded(grey, "PNG"))])[0]["image_id"]
    segment(alice, api)
    overlay = alice("GET", f"images/{image_id}/mask", params={"format": "overlay"})
    with Image.open(io.BytesIO(overlay.content)) as picture:
        assert picture.getpixel((3, 0)) == (100, 100, 100) and picture.getpixel((3, 5)) != (100, 100, 100)


def test_who_has_the_mask_is_not_sent_it_again(alice: Caller, api: FastAPI) -> None:
    (image_id,) = alice.upload_photos(1)
    segment(alice, api)
    etag = alice("GET", f"images/{image_id}/mask").headers["etag"]
    assert alice("GET", f"images/{image_id}/mask", headers={"If-None-Match": etag}).status_code == 304
    other = alice("GET", f"images/{image_id}/mask", params={"format": "json"}, headers={"If-None-Match": etag})
    assert other.status_code == 200


def test_the_mask_is_that_of_the_model_asked_for(alice: Caller, api: FastAPI) -> None:
    first, second = alice.upload_photos(2)
    segment(alice, api, model="base")

    def version(image_id: str, **query: object) -> object:
        answer = alice("GET", f"images/{image_id}/mask", params=query)
        return answer.headers.get("x-model-version") or answer.json()["code"]

    assert version(first) == version(first, model="personal") == version(first, model="base") == "0"
    assert version(first, model=1) == "model_not_found"
    assert adapted(alice, api) == 1
    assert version(first) == "0"
    assert version(first, model="personal") == version(first, model=1) == "mask_not_ready"
    segment(alice, api, image_ids=[first])
    assert version(first) == version(first, model="personal") == version(first, model=1) == "1"
    assert version(first, model="base") == version(second) == "0"
    assert version(first, model="nonsense") == "validation_failed"


def test_a_mask_that_is_being_made_names_its_job(alice: Caller, api: FastAPI) -> None:
    (image_id,) = alice.upload_photos(1)
    without = alice("GET", f"images/{image_id}/mask")
    assert (without.status_code, without.json()["code"], without.json()["job"]) == (404, "mask_not_ready", None)
    job = alice("POST", "segmentations", json={"adapt": "never"}).json()
    assert alice("GET", f"images/{image_id}/mask").json()["job"] == job["links"]["self"]


def test_a_mask_that_another_model_makes_has_no_job(alice: Caller, api: FastAPI) -> None:
    (image_id, _) = alice.upload_photos(2)

    def named(**query: object) -> object:
        answer = alice("GET", f"images/{image_id}/mask", params=query)
        assert (answer.status_code, answer.json()["code"]) == (404, "mask_not_ready")
        return answer.json()["job"]

    def started(**wish: object) -> str:
        return str(alice("POST", "segmentations", json={"adapt": "never", **wish}).json()["links"]["self"])

    assert [adapted(alice, api), adapted(alice, api)] == [1, 2]
    by_base = started(model="base", base="big")
    assert named() == named(model="base") == named(model="base", base="big") == by_base
    assert named(model="base", base="small") is named(model="personal") is named(model=2) is None
    by_first = started(model=1)
    assert (named(model=1), named(model=2), named(model="personal")) == (by_first, None, None)
    in_use = started()
    assert named(model="personal") == named(model=2) == named() == in_use
    assert (named(model=1), named(model="base")) == (by_first, by_base)
    # A worker has taken it up: what is in use by then does not count any more.
    lease = hand_worker.claim(api, in_use.rsplit("/", 1)[-1])
    with api.state.wiring.database.write() as session:
        jobs.pin_model_version(session, lease, 2)
    assert alice("POST", "models/1/activate").status_code == 200
    assert (named(model=2), named(model="personal")) == (in_use, by_first)


def test_the_personal_model_on_another_base_is_not_made_by_a_job_that_names_its_base(alice: Caller, api: FastAPI) -> None:
    (image_id, _) = alice.upload_photos(2)
    hand_worker.adapt(api, alice("POST", "adaptations", json={"base": "big"}).json()["id"])
    job = alice("POST", "segmentations", json={"adapt": "never", "base": "small"}).json()["links"]["self"]

    def named(**query: object) -> object:
        return alice("GET", f"images/{image_id}/mask", params=query).json()["job"]

    assert named(model="personal") is named(model=1) is named(model="base", base="big") is None
    assert named() == named(model="base", base="small") == job


def test_a_job_behind_an_adaptation_makes_the_masks_of_its_model(alice: Caller, api: FastAPI) -> None:
    (image_id, _) = alice.upload_photos(2)
    adapted(alice, api)
    job = alice("POST", "segmentations", json={"adapt": "always"}).json()

    def named(**query: object) -> object:
        return alice("GET", f"images/{image_id}/mask", params=query).json()["job"]

    assert named() == named(model="personal") == job["links"]["self"]
    assert named(model=1) is named(model="base") is None
    assert hand_worker.adapt(api, job["depends_on"]) == 2
    assert named(model=2) == job["links"]["self"]
    assert named(model=1) is None


def test_models_are_listed_rolled_back_and_dropped(alice: Caller, api: FastAPI) -> None:
    (first, _) = alice.upload_photos(2)
    assert [adapted(alice, api), adapted(alice, api)] == [1, 2]
    segment(alice, api)
    listed = alice("GET", "models").json()["items"]
    assert [(model["version"], model["active"]) for model in listed] == [(2, True), (1, False)]
    first_page = alice("GET", "models", params={"limit": 1}).json()
    last_page = alice("GET", "models", params={"limit": 1, "cursor": first_page["next_cursor"]}).json()
    assert first_page["items"] + last_page["items"] == listed and last_page["next_cursor"] is None
    assert alice("GET", "models", params={"cursor": "nonsense!"}).json()["code"] == "bad_cursor"
    assert alice("POST", "models/1/activate").json()["active"] is True
    assert [model["active"] for model in alice("GET", "models").json()["items"]] == [False, True]
    assert alice("DELETE", "models/2").status_code == 204
    assert alice("GET", f"images/{first}/mask", params={"model": 2}).json()["code"] == "model_not_found"
    assert alice("DELETE", "models/1").status_code == 204
    assert alice("GET", "models").json()["items"] == [] and alice("GET").json()["active_model_version"] is None
    storage = api.state.wiring.storage
    assert not [key for key in storage.keys(user_prefix(alice.user_id)) if "/models/" in key or "/masks/" in key]
    for method, path in (("POST", "models/2/activate"), ("DELETE", "models/2"), ("POST", "models/99/activate")):
        assert alice(method, path).json()["code"] == "model_not_found"
    assert alice("DELETE", "models/x").json()["code"] == "malformed_id"


def test_a_version_dropped_while_it_is_put_in_use_is_not_found(alice: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.upload_photos(2)
    assert [adapted(alice, api), adapted(alice, api)] == [1, 2]
    deactivate_all = model_repository.deactivate_all

    def drop_then_deactivate(session: Session, user_id: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(model_repository, "deactivate_all", deactivate_all)
            if session.get_bind().dialect.name == "sqlite":  # where nobody else can write meanwhile
                model_repository.delete_with_masks(session, user_id, model_service.require(session, user_id, 1))
            else:
                assert alice("DELETE", "models/1").status_code == 204
        deactivate_all(session, user_id)

    monkeypatch.setattr(model_repository, "deactivate_all", drop_then_deactivate)
    answer = alice("POST", "models/1/activate")
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
    assert alice("GET").json()["active_model_version"] == 2


@pytest.mark.parametrize("form", ["raw", "multipart"])
def test_one_photo_is_answered_with_its_mask(alice: Caller, api: FastAPI, form: str) -> None:
    api.state.wiring.settings.__dict__["segment_wait_seconds"] = 60.0
    photo = jpeg(seed=77)
    body = {"content": photo, "headers": {"content-type": "image/jpeg"}} if form == "raw" else {"files": [("file", ("a.jpg", photo))]}
    worker = work_when_asked(api)
    answer = alice("POST", "segment", **body)
    worker.join()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as labels:
        assert labels.size == (64, 48) and labels.getpixel((0, 1)) == hand_worker.LABEL
    assert alice("GET", answer.headers["content-location"]).content == answer.content
    again = alice("POST", "segment", **body)  # no worker is there: the mask is found
    assert again.content == answer.content
    assert len(alice("GET", "images").json()["items"]) == 1


@pytest.mark.parametrize("key", [None, "a key"])
@pytest.mark.parametrize("left", [None, b""])
def test_one_photo_whose_masks_file_is_lost_is_segmented_again(alice: Caller, api: FastAPI, key: str | None, left: bytes | None) -> None:
    api.state.wiring.settings.__dict__["segment_wait_seconds"] = 60.0
    headers = {"content-type": "image/jpeg"} | ({} if key is None else {"Idempotency-Key": key})
    answers = []
    for _ in range(2):
        worker = work_when_asked(api)
        answers.append(alice("POST", "segment", content=jpeg(seed=77), headers=headers))
        worker.join()
        with api.state.wiring.database.read() as session:
            lost = session.scalars(select(Mask.labels_key)).one()
        api.state.wiring.storage.delete(lost)
        if left is not None:
            api.state.wiring.storage.put_bytes(lost, left)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content


def test_past_its_bound_the_one_photo_route_names_the_job(alice: Caller) -> None:
    answer = alice("POST", "segment", content=jpeg(), headers={"content-type": "image/jpeg"})
    assert (answer.status_code, answer.json()["code"]) == (504, "segmentation_not_in_time")
    assert alice("GET", answer.json()["job"]).json()["status"] == "queued"


def test_a_key_of_another_photo_stores_none_while_its_job_waits(alice: Caller) -> None:
    headers = {"content-type": "image/jpeg", "Idempotency-Key": "k"}
    assert alice("POST", "segment", content=jpeg(seed=1), headers=headers).status_code == 504
    refused = alice("POST", "segment", content=jpeg(seed=2), headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_conflict")
    assert len(alice("GET", "images").json()["items"]) == 1


def test_a_photo_deleted_and_sent_again_while_its_job_waits_has_another(alice: Caller, api: FastAPI) -> None:
    headers = {"content-type": "image/jpeg", "Idempotency-Key": "k"}
    first = alice("POST", "segment", content=jpeg(seed=1), headers=headers).json()["job"]
    alice("DELETE", f"images/{alice('GET', 'images').json()['items'][0]['id']}")
    again = alice("POST", "segment", content=jpeg(seed=1), headers=headers)
    assert (again.status_code, again.json()["code"]) == (504, "segmentation_not_in_time")
    assert again.json()["job"] != first
    assert alice("POST", "segment", content=jpeg(seed=1), headers=headers).json()["job"] == again.json()["job"]
    hand_worker.segment(api, again.json()["job"].rsplit("/", 1)[-1])
    assert alice("POST", "segment", content=jpeg(seed=1), headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "zero_bytes"),
        (b"text", 422, "not_an_image"),
        (jpeg(400, 300)[:2000], 422, "truncated_image"),
        (b"\xff\xd8\xff" + bytes(2_000_000), 413, "file_too_large"),
        (encoded(picture(), "GIF"), 415, "unsupported_format"),
    ],
)
def test_a_bad_photo_has_its_code(alice: Caller, body: bytes, status: int, code: str) -> None:
    answer = alice("POST", "segment", content=body, headers={"content-type": "image/jpeg"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert alice("GET", "images").json()["items"] == []


def test_a_photo_that_cannot_be_segmented_says_why(alice: Caller, api: FastAPI) -> None:
    api.state.wiring.settings.__dict__["segment_wait_seconds"] = 60.0

    def fail_first_job() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with api.state.wiring.database.write() as session:
                job_id = session.scalar(select(Job.id).where(Job.status == "queued"))
                lease = jobs.claim(session, job_id, "hand", 60) if job_id else None
                if lease is not None:
                    jobs.fail(session, lease, code="worker_broken", reason="The machine is on fire.")
                    return
            time.sleep(0.02)

    worker = threading.Thread(target=fail_first_job)
    worker.start()
    answer = alice("POST", "segment", content=jpeg(), headers={"content-type": "image/jpeg"})
    worker.join()
    assert (answer.status_code, answer.json()["code"]) == (500, "worker_broken")
    assert "fire" in answer.json()["detail"]


@pytest.mark.parametrize(("what", "status", "code"), [("photo", 404, "image_not_found"), ("job", 409, "segmentation_cancelled")])
def test_who_takes_back_the_one_photo_while_it_waits_is_told_so(alice: Caller, api: FastAPI, what: str, status: int, code: str) -> None:
    api.state.wiring.settings.__dict__["segment_wait_seconds"] = 60.0
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(alice, "POST", "segment", content=jpeg(), headers={"content-type": "image/jpeg"})
        deadline = time.monotonic() + 30
        while not (waiting := alice("GET", "segmentations").json()["items"]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if what == "photo":
            (image,) = alice("GET", "images").json()["items"]
            assert alice("DELETE", f"images/{image['id']}").status_code == 204
        alice("POST", f"segmentations/{waiting[0]['id']}/cancel")
        told = answer.result()
    assert (told.status_code, told.json()["code"]) == (status, code)


def test_rows_of_another_user_never_count(alice: Caller, bob: Caller, api: FastAPI) -> None:
    """The foreign rows are put under the very ids that alice asks for; she sees none of them."""
    alice.upload_photos(2)
    (theirs, _) = bob.upload_photos(2)
    adapted(bob, api)
    segment(bob, api)
    database = api.state.wiring.database
    with database.write() as session:
        assert session.scalar(select(Mask.id).where(Mask.image_id == theirs)) is not None
        assert session.scalar(select(PersonalModel.id)) is not None
        session.execute(update(Photo).where(Photo.user_id == bob.user_id).values(filename="secret.jpg"))
    assert "secret.jpg" not in alice("GET", "images").text
    assert alice("GET", "models").json()["items"] == []
    answer = alice("POST", "segmentations", json={"image_ids": [theirs], "adapt": "never"})
    assert (answer.status_code, answer.json()["code"]) == (404, "image_not_found")
