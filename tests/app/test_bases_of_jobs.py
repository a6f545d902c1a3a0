"""Which base model an adaptation, a segmentation and a mask are of, where several are in play; on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select

from app import auto_adaptation
from app.clock import utc_now
from app.settings import Settings
from app.tables import Image, Job
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.photos import jpeg
from tests.app.test_segmentations import segment, work_when_asked

BOTH_DATABASES = True


def adapt(caller: Caller, **wish: object) -> str:
    answer = caller("POST", "adaptations", json=wish)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def base_of(caller: Caller, kind: str, job_id: object) -> object:
    return caller("GET", f"{kind}/{job_id}").json()["base"]


def test_who_has_chosen_a_base_keeps_it(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    assert hand_worker.adapt(api, adapt(alice, base="big")) == 1
    again = adapt(alice)
    assert base_of(alice, "adaptations", again) == "big"
    hand_worker.adapt(api, again)
    job = alice("POST", "segmentations", json={"adapt": "always"}).json()
    assert base_of(alice, "adaptations", job["depends_on"]) == job["base"] == "big"
    hand_worker.adapt(api, job["depends_on"])
    other = adapt(alice, base="other")
    assert base_of(alice, "adaptations", other) == "other"


def test_who_took_the_default_follows_it(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    first = adapt(alice)
    was = base_of(alice, "adaptations", first)
    hand_worker.adapt(api, first)
    hand_worker.register(api, "newer", str(was))
    assert base_of(alice, "adaptations", adapt(alice)) == "newer"


def test_a_chosen_base_that_no_worker_has_any_more_gives_way(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    hand_worker.adapt(api, adapt(alice, base="big"))
    hand_worker.register(api, "newer")
    assert base_of(alice, "adaptations", adapt(alice)) == "newer"


def test_an_adaptation_that_starts_by_itself_keeps_it_too(alice: Caller, api: FastAPI, settings: Settings) -> None:
    alice.upload_photos(2)
    hand_worker.adapt(api, adapt(alice, base="big"))
    alice("PATCH", "settings", json={"auto_adapt": True})
    alice.upload([("new.jpg", jpeg(seed=5))])
    later = utc_now() - timedelta(seconds=settings.auto_adapt_quiet_seconds + 1)
    with api.state.wiring.database.write() as session:
        for image in session.scalars(select(Image)):
            image.created_at = later
        for job in session.scalars(select(Job)):
            job.started_at = later - timedelta(seconds=5)
            job.timeline = []
    (due,) = auto_adaptation.queue_due(api.state.wiring.database, api.state.wiring.settings)
    assert base_of(alice, "adaptations", due.job_id) == "big"


def test_a_segmentation_is_of_the_base_of_its_adaptation(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    adaptation = adapt(alice, base="big")
    job = alice("POST", "segmentations", json={}).json()
    assert (job["depends_on"], job["base"]) == (adaptation, "big")


def test_it_follows_the_model_that_is_in_use_by_then(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    hand_worker.adapt(api, adapt(alice, base="big"))
    job = alice("POST", "segmentations", json={"adapt": "never"}).json()
    hand_worker.adapt(api, adapt(alice, base="other"))
    hand_worker.segment(api, job["id"])
    ended = alice("GET", f"segmentations/{job['id']}").json()
    assert (ended["base"], ended["model_used"]) == ("other", 2)
    named = alice("POST", "segmentations", json={"adapt": "never", "base": "big"}).json()
    assert named["base"] == "big"


@pytest.mark.parametrize("ending", [hand_worker.refuse, hand_worker.adapt])
def test_auto_repeats_no_look_that_it_had(alice: Caller, api: FastAPI, ending: object) -> None:
    """Refused: the same photos would be refused again. Rolled back: the next request must not undo that."""
    alice.upload_photos(4)
    hand_worker.adapt(api, adapt(alice))
    alice.upload([(f"{seed}.jpg", jpeg(seed=seed)) for seed in (31, 32)])
    waiting = alice("POST", "segmentations", json={}).json()
    ending(api, waiting["depends_on"])  # type: ignore[operator]
    alice("POST", "models/1/activate")
    assert alice("POST", "segmentations", json={}).json()["depends_on"] is None
    alice.upload([(f"{seed}.jpg", jpeg(seed=seed)) for seed in (33, 34)])
    assert alice("POST", "segmentations", json={}).json()["depends_on"] is not None


def test_each_job_leads_to_its_own_masks(alice: Caller, api: FastAPI) -> None:
    (image_id,) = alice.upload_photos(1)
    jobs = [segment(alice, api, model="base", base=base) for base in ("small", "big")]
    for job_id, base in zip(jobs, ("small", "big"), strict=True):
        (item,) = alice("GET", f"segmentations/{job_id}").json()["items"]
        assert alice("GET", f"{item['mask_url']}&format=json").json()["base"] == base
    path = f"images/{image_id}/mask"
    assert alice("GET", path, params={"model": "base", "format": "json"}).json()["base"] == "big"
    assert alice("GET", path, params={"model": "base", "base": "third"}).json()["code"] == "mask_not_ready"
    for query in ({"base": "big"}, {"base": "big", "model": "personal"}, {"base": "big", "model": 1}):
        answer = alice("GET", path, params=query)
        assert (answer.status_code, answer.json()["code"]) == (422, "base_without_base_model")


def test_one_photo_by_the_base_is_by_the_default_base(alice: Caller, api: FastAPI) -> None:
    photo, kind = jpeg(seed=3), {"content-type": "image/jpeg"}
    alice.upload([("a.jpg", photo)])
    segment(alice, api, model="base", base="big")
    api.state.wiring.settings.__dict__["segment_wait_seconds"] = 10.0
    worker = work_when_asked(api)
    answer = alice("POST", "segment", params={"model": "base", "format": "json"}, content=photo, headers=kind)
    worker.join()
    assert answer.json()["base"] == api.state.wiring.settings.default_base
    assert alice("GET", answer.headers["content-location"] + "&format=json").json() == answer.json()
    # the newest mask of any base is another by now; the photo's is found all the same
    segment(alice, api, model="base", base="third")
    assert alice("POST", "segment", params={"model": "base", "format": "json"}, content=photo, headers=kind).json() == answer.json()


def test_a_version_that_is_not_there_keeps_no_photo(alice: Caller) -> None:
    answer = alice("POST", "segment", params={"model": 99}, content=jpeg(), headers={"content-type": "image/jpeg"})
    assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")
    assert alice("GET", "images").json()["items"] == []


def test_no_segmentation_waits_for_an_adaptation_of_another_base(alice: Caller, api: FastAPI) -> None:
    hand_worker.register(api, "tiny", "big")
    alice.upload_photos(2)
    under_way = adapt(alice, base="big")
    refused = alice("POST", "segmentations", json={"adapt": "always", "base": "tiny"})
    assert (refused.status_code, refused.json()["code"]) == (409, "other_adaptation_under_way")
    assert refused.json()["job"].endswith(under_way) and "big" in refused.json()["detail"]
    assert alice("POST", "segmentations", json={"adapt": "auto", "base": "tiny"}).json()["depends_on"] is None
    assert alice("POST", "segmentations", json={"adapt": "always", "base": "big"}).json()["depends_on"] == under_way


def test_a_version_has_its_own_base(alice: Caller, api: FastAPI) -> None:
    hand_worker.register(api, "tiny", "big")
    (image_id, _) = alice.upload_photos(2)
    hand_worker.adapt(api, adapt(alice, base="big"))
    wish = {"adapt": "never", "model": 1}
    refused = alice("POST", "segmentations", json={**wish, "base": "tiny"})
    assert (refused.status_code, refused.json()["code"]) == (422, "base_of_another_model")
    assert alice("POST", "segmentations", json={**wish, "base": "big"}).json()["base"] == "big"
    for base, code in (("tiny", "mask_not_ready"), ("nope", "unknown_base")):
        assert alice("GET", f"images/{image_id}/mask", params={"model": "base", "base": base}).json()["code"] == code


def named(caller: Caller, base: str | None = "other", **wish: object) -> dict[str, Any]:
    job: dict[str, Any] = caller("POST", "segmentations", json={"base": base, **wish}).json()
    return job


def test_auto_adapts_to_the_base_that_is_named(alice: Caller, api: FastAPI) -> None:
    """Also where there is a model on another: its masks would be the plain base's."""
    (image_id, _) = alice.upload_photos(2)
    hand_worker.adapt(api, adapt(alice, base="big"))
    job = named(alice)
    assert job["depends_on"] is not None and base_of(alice, "adaptations", job["depends_on"]) == job["base"] == "other"
    assert hand_worker.adapt(api, job["depends_on"]) == 2
    hand_worker.segment(api, job["id"])
    ended = alice("GET", f"segmentations/{job['id']}").json()
    assert (ended["status"], ended["base"], ended["model_used"]) == ("succeeded", "other", 2)
    assert alice("GET", f"images/{image_id}/mask", params={"model": "personal", "format": "json"}).json()["base"] == "other"
    assert named(alice)["depends_on"] is None, "once"


def test_auto_repeats_no_refusal_by_the_base_that_is_named(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    hand_worker.adapt(api, adapt(alice, base="big"))
    hand_worker.refuse(api, named(alice)["depends_on"])
    assert named(alice)["depends_on"] is None
    assert named(alice, "third")["depends_on"] is not None, "what one base made of the photos says nothing of another"


def test_a_refusal_by_one_base_is_none_by_another(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    hand_worker.refuse(api, adapt(alice, base="big"))
    assert named(alice)["depends_on"] is not None


def test_a_version_put_back_in_use_stays_where_another_base_is_named(alice: Caller, api: FastAPI) -> None:
    """Its own newest version serves; nothing is adapted again, and the one in use stays in use."""
    (image_id, _) = alice.upload_photos(2)
    for base in ("big", "other", "other"):
        hand_worker.adapt(api, adapt(alice, base=base))
    alice("POST", "models/1/activate")
    job = named(alice)
    assert job["depends_on"] is None
    path = f"images/{image_id}/mask"
    pending = [alice("GET", path, params={"model": model}).json()["job"] for model in (3, "personal", 2)]
    assert pending == [job["links"]["self"], None, None]
    hand_worker.segment(api, job["id"])
    ended = alice("GET", f"segmentations/{job['id']}").json()
    assert (ended["base"], ended["model_used"]) == ("other", 3)
    assert alice("GET", f"{ended['items'][0]['mask_url']}&format=json").json()["base"] == "other"
    assert [model["version"] for model in alice("GET", "models").json()["items"] if model["active"]] == [1]


def test_new_photos_make_the_named_base_s_model_stale(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(4)
    hand_worker.adapt(api, adapt(alice, base="other"))
    alice.upload([(f"{seed}.jpg", jpeg(seed=seed)) for seed in (31, 32)])
    hand_worker.adapt(api, adapt(alice, base="big"))
    assert named(alice, None)["depends_on"] is None and named(alice, "big")["depends_on"] is None
    assert named(alice)["depends_on"] is not None


def test_who_went_back_to_the_base_gets_no_version_by_naming_it(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    for _ in range(2):
        hand_worker.adapt(api, adapt(alice, base="other"))
    alice("DELETE", "models/2")
    job = named(alice, adapt="never")
    hand_worker.segment(api, job["id"])
    assert alice("GET", f"segmentations/{job['id']}").json()["model_used"] == "base"
