"""`Idempotency-Key` on every POST, on both databases."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import delete, select, update

from app import idempotency
from app.clock import utc_now
from app.images.keyed import KeyedUpload
from app.images.multipart import ReceivedFile
from app.settings import Settings
from app.tables import IdempotencyKey, Image, Job, Token, User
from tests.app import hand_worker
from tests.app.conftest import Caller, make_user
from tests.app.photos import jpeg
from tests.at_once import at_once

BOTH_DATABASES = True
KEY = {"Idempotency-Key": "once"}


def count(api: FastAPI, table: type) -> int:
    with api.state.wiring.database.read() as session:
        return len(session.scalars(select(table)).all())


def zip_of(entries: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return packed.getvalue()


def is_conflict(answer: httpx.Response) -> bool:
    return (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")


def test_every_post_takes_a_key(api: FastAPI) -> None:
    for path, methods in api.openapi()["paths"].items():
        if "post" in methods:
            assert "Idempotency-Key" in {parameter["name"] for parameter in methods["post"].get("parameters", [])}, path


def test_one_key_makes_one_user_and_shows_its_token_again(service: Caller, api: FastAPI) -> None:
    answers = at_once(4, lambda: service("POST", "/v1/users", json={"external_id": "ann"}, headers=KEY))
    assert {answer.status_code for answer in answers} == {201}
    first, *others = [answer.json() for answer in answers]
    assert all(other == first for other in others)
    assert count(api, User) == 1
    assert service("POST", "/v1/users", json={"external_id": "ann"}, headers=KEY).json() == first
    assert Caller(service.client, first["token"], first["id"])("GET").status_code == 200
    assert is_conflict(service("POST", "/v1/users", json={"external_id": "bea"}, headers=KEY))
    taken = service("POST", "/v1/users", json={"external_id": "ann"}, headers={"Idempotency-Key": "another"})
    assert (taken.status_code, taken.json()["code"]) == (409, "external_id_taken")


def test_no_row_holds_the_token(service: Caller, api: FastAPI) -> None:
    token = service("POST", "/v1/users", headers=KEY).json()["token"]
    with api.state.wiring.database.read() as session:
        (row,) = session.scalars(select(IdempotencyKey)).all()
        held = repr([row.response, [(one.token_hash, one.prefix) for one in session.scalars(select(Token))]])
    assert token not in held and token[9:52] not in held and service.token not in held


def test_two_service_tokens_do_not_share_their_keys(service: Caller, api: FastAPI) -> None:
    from app import auth

    with api.state.wiring.database.write() as session:
        _, text = auth.create_token(session, None)
    other = Caller(service.client, text)
    assert service("POST", "/v1/users", headers=KEY).json()["id"] != other("POST", "/v1/users", headers=KEY).json()["id"]


def test_a_key_dies_with_its_user(service: Caller, api: FastAPI) -> None:
    first = service("POST", "/v1/users", headers=KEY).json()
    service("DELETE", f"/v1/users/{first['id']}")
    assert count(api, IdempotencyKey) == 0
    assert service("POST", "/v1/users", headers=KEY).json()["id"] != first["id"]


def test_one_key_makes_one_token(alice: Caller, service: Caller, api: FastAPI) -> None:
    before = count(api, Token)
    answers = at_once(3, lambda: alice("POST", "tokens", json={"expires_in_seconds": 60}, headers=KEY))
    first, *others = [answer.json() for answer in answers]
    assert all(other["token"] == first["token"] and other["id"] == first["id"] for other in others)
    assert count(api, Token) == before + 1
    assert Caller(alice.client, first["token"], alice.user_id)("GET").status_code == 200
    assert is_conflict(alice("POST", "tokens", json={"expires_in_seconds": 61}, headers=KEY))
    by_service = service("POST", f"/v1/users/{alice.user_id}/tokens", json={"expires_in_seconds": 60}, headers=KEY)
    assert (by_service.json()["id"], by_service.json()["token"]) == (first["id"], None)


def test_one_key_rotates_once(alice: Caller, service: Caller) -> None:
    old = alice("POST", "tokens").json()["id"]
    first, second = (alice("POST", f"tokens/{old}/rotate", headers=KEY).json() for _ in range(2))
    assert first["token"] == second["token"]
    assert is_conflict(alice("POST", f"tokens/{old}/rotate", json={"grace_seconds": 5}, headers=KEY))


HOOK = {"url": "https://example.org/hook"}


@pytest.mark.parametrize("path", ["webhook", "/v1/webhook"])
def test_one_key_shows_a_webhook_s_secret_again(alice: Caller, service: Caller, api: FastAPI, path: str) -> None:
    caller = service if path.startswith("/") else alice
    answers = at_once(3, lambda: caller("PUT", path, json=HOOK, headers=KEY))
    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.text for answer in answers}) == 1 and answers[0].json()["secret"].startswith("whsec_")
    assert caller("PUT", path, json=HOOK).json()["secret"] is None, "another request"
    rotating = [caller("PUT", path, json={**HOOK, "rotate_secret": True}, headers={"Idempotency-Key": "new"}) for _ in range(2)]
    assert rotating[0].json()["secret"] == rotating[1].json()["secret"] not in (None, answers[0].json()["secret"])
    assert caller("PUT", path, json=HOOK, headers=KEY).json()["secret"] is None, "that one is in use no more"
    assert is_conflict(caller("PUT", path, json={"url": "https://example.org/other"}, headers=KEY))
    with api.state.wiring.database.read() as session:
        assert "whsec_" not in repr([row.response for row in session.scalars(select(IdempotencyKey))])


def test_a_repeated_webhook_undoes_nothing(alice: Caller, service: Caller) -> None:
    alice("PUT", "webhook", json=HOOK, headers=KEY)
    by_service = Caller(service.client, service.token, alice.user_id)
    assert by_service("PUT", "webhook", json=HOOK, headers=KEY).json()["secret"] is None, "to the token that was shown it"
    by_service("PUT", "webhook", json={"url": "https://example.org/later"})
    again = alice("PUT", "webhook", json=HOOK, headers=KEY).json()
    assert again["url"] == "https://example.org/later" and again["secret"] is not None
    for made_anew in (False, True):
        alice("DELETE", "webhook")
        if made_anew:
            alice("PUT", "webhook", json=HOOK)
        assert alice("PUT", "webhook", json=HOOK, headers=KEY).json()["code"] == "webhook_not_found"


@pytest.mark.parametrize(("path", "body", "other"), [("adaptations", {"seed": 1}, {"seed": 2}), ("segmentations", {}, {"model": "base"})])
def test_one_key_makes_one_job_at_once(alice: Caller, api: FastAPI, path: str, body: object, other: object) -> None:
    alice.upload_photos(2)
    answers = at_once(4, lambda: alice("POST", path, json=body, headers=KEY))
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert is_conflict(alice("POST", path, json=other, headers=KEY))


def test_one_key_uploads_once(alice: Caller, api: FastAPI) -> None:
    files = [("files", (f"{seed}.jpg", jpeg(seed=seed))) for seed in range(3)] + [("files", ("bad.jpg", b"not a photo"))]
    answers = at_once(3, lambda: alice("POST", "images", files=files, headers=KEY))
    assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text for answer in answers]
    first, *others = [answer.json() for answer in answers]
    assert all(other == first for other in others)
    assert count(api, Image) == 3
    again = alice("POST", "images", files=files, headers=KEY)
    assert again.json() == first  # without the key the photos would now be duplicates


def test_what_a_request_stored_before_it_was_cut_off_was_stored_by_its_key(alice: Caller, api: FastAPI) -> None:
    names = ("0.jpg", "1.jpg", "2.jpg")
    one, two, three = [("files", (name, jpeg(seed=seed))) for seed, name in enumerate(names)]
    alice("POST", "images", files=[two])
    alice("POST", "images", files=[one, three], headers=KEY)
    with api.state.wiring.database.write() as session:  # as it is where the process died before it answered
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.key == KEY["Idempotency-Key"]))
    again = alice("POST", "images", files=[one, two, three, one], headers=KEY).json()
    assert [entry["status"] for entry in again["results"]] == ["stored", "duplicate", "stored", "duplicate"]
    assert (again["stored"], again["duplicate"]) == (2, 2)
    assert [entry["status"] for entry in alice.upload([("0.jpg", jpeg(seed=0))])] == ["duplicate"], "of another request it is one"


def test_a_photo_deleted_and_stored_by_others_was_not_stored_by_the_key(alice: Caller, api: FastAPI) -> None:
    photo = ("files", ("0.jpg", jpeg(seed=0)))
    first = alice("POST", "images", files=[photo], headers=KEY).json()["results"][0]["image_id"]
    alice("DELETE", f"images/{first}")
    with api.state.wiring.database.write() as session:
        session.execute(delete(IdempotencyKey).where(IdempotencyKey.key == KEY["Idempotency-Key"]))
    alice("POST", "images", files=[photo])
    assert alice("POST", "images", files=[photo], headers=KEY).json()["duplicate"] == 1


def test_a_photo_that_the_quota_refused_is_looked_at_again(alice: Caller, service: Caller) -> None:
    files = [("files", (f"{seed}.jpg", jpeg(seed=seed))) for seed in range(2)]
    for images, statuses in ((1, ["stored", "rejected"]), (2, ["stored", "stored"]), (1, ["stored", "stored"])):
        service("PATCH", f"/v1/users/{alice.user_id}", json={"quotas": {"images": images}})
        answer = alice("POST", "images", files=files, headers=KEY)
        assert [entry["status"] for entry in answer.json()["results"]] == statuses


@pytest.mark.parametrize("change", ["bytes", "name", "order", "fewer"])
def test_another_upload_with_the_same_key_stores_nothing(alice: Caller, api: FastAPI, change: str) -> None:
    one, two, three = [("files", (f"{seed}.jpg", jpeg(seed=seed))) for seed in range(3)]
    assert alice("POST", "images", files=[one, two], headers=KEY).status_code == 200
    renamed = ("files", ("renamed.jpg", two[1][1]))
    body = {"bytes": [one, three], "name": [one, renamed], "order": [two, one], "fewer": [one]}[change]
    assert is_conflict(alice("POST", "images", files=body, headers=KEY))
    assert count(api, Image) == 2


def test_an_upload_with_a_key_holds_no_names(alice: Caller, api: FastAPI) -> None:
    upload = KeyedUpload(api.state.wiring, alice.user_id, "once")
    tracemalloc.start()
    try:
        for number in range(2000):
            assert upload.is_new(ReceivedFile(f"{number}" + "x" * 1000, io.BytesIO(), 0, "0" * 64, is_too_large=False))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 500_000


def test_what_is_kept_of_an_upload_is_small_and_tells_the_same_again(alice: Caller, api: FastAPI) -> None:
    names = [f"{number}" + "\N{DOG FACE}" * 200 for number in range(200)]
    bad = [("files", (name, b"not a photo")) for name in names]
    packed = zip_of({"in the zip.jpg": jpeg(seed=1), "also.txt": b"no photo either", "good.jpg": jpeg(seed=2)})
    files = [
        *bad[:100],
        ("files", ("album.zip", packed)),
        *bad[100:],
        ("files", ("good.jpg", jpeg(seed=2))),
        ("files", ("no.zip", packed[:50])),
    ]
    first = alice("POST", "images", files=files, headers=KEY).json()
    assert [entry["filename"] for entry in first["results"][100:103]] == ["in the zip.jpg", "also.txt", "good.jpg"]
    assert (len(first["results"]), first["stored"], first["duplicate"]) == (205, 2, 1)
    assert alice("POST", "images", files=files, headers=KEY).json() == first
    with api.state.wiring.database.read() as session:
        kept = session.scalars(select(IdempotencyKey.response).where(IdempotencyKey.key == KEY["Idempotency-Key"])).one()
    assert len(json.dumps(kept)) < 4000, "a body of 160 kB"


def test_what_the_version_before_kept_of_an_upload_is_told_again(alice: Caller, api: FastAPI) -> None:
    photo = [("files", ("0.jpg", jpeg(seed=0)))]
    first = alice("POST", "images", files=photo, headers=KEY).json()
    with api.state.wiring.database.write() as session:
        session.execute(update(IdempotencyKey).where(IdempotencyKey.key == KEY["Idempotency-Key"]).values(response=first))
    assert alice("POST", "images", files=photo, headers=KEY).json() == first


def test_a_refused_request_is_not_remembered(alice: Caller) -> None:
    assert alice("POST", "adaptations", headers=KEY).status_code == 409
    alice.upload_photos(2)
    assert alice("POST", "adaptations", headers=KEY).status_code == 202


def test_cancelling_with_a_key(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    one, two = (alice("POST", "segmentations", json={"adapt": "never"}).json()["id"] for _ in range(2))
    answers = at_once(3, lambda: alice("POST", f"segmentations/{one}/cancel", headers=KEY))
    assert {(answer.status_code, answer.json()["status"]) for answer in answers} == {(202, "cancelled")}
    assert is_conflict(alice("POST", f"segmentations/{two}/cancel", headers=KEY))
    with api.state.wiring.database.read() as session:
        assert session.get_one(Job, two).status == "queued"


def test_activating_with_a_key_is_done_once(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    for _ in range(2):
        hand_worker.adapt(api, alice("POST", "adaptations").json()["id"])
    at_once(3, lambda: alice("POST", "models/1/activate", headers=KEY))
    assert alice("GET").json()["active_model_version"] == 1
    alice("POST", "models/2/activate")
    repeated = alice("POST", "models/1/activate", headers=KEY)  # late: somebody has decided otherwise since
    assert (repeated.status_code, repeated.json()["active"]) == (200, False)
    assert alice("GET").json()["active_model_version"] == 2
    assert is_conflict(alice("POST", "models/2/activate", headers=KEY))


def test_segmenting_one_photo_with_a_key(alice: Caller, api: FastAPI) -> None:
    photo = {"content": jpeg(seed=5), "headers": {**KEY, "Content-Type": "image/jpeg"}}
    answers = at_once(2, lambda: alice("POST", "segment", **photo))
    assert {answer.status_code for answer in answers} == {504}
    assert len({answer.json()["job"] for answer in answers}) == 1 and count(api, Job) == 1
    hand_worker.segment(api, answers[0].json()["job"].rsplit("/", 1)[1])
    first = alice("POST", "segment", **photo)
    assert (first.status_code, first.headers["x-model-version"]) == (200, "0")
    alice.upload_photos(2)
    hand_worker.adapt(api, alice("POST", "adaptations").json()["id"])
    repeated = alice("POST", "segment", **photo)
    assert (repeated.status_code, repeated.content) == (200, first.content) and count(api, Job) == 2
    assert is_conflict(alice("POST", "segment", content=jpeg(seed=6), headers=photo["headers"]))
    assert count(api, Image) == 3


def test_one_photo_whose_job_came_to_nothing_is_segmented_anew(alice: Caller, api: FastAPI) -> None:
    (image_id,) = (entry["image_id"] for entry in alice.upload([("a.jpg", jpeg(seed=5))]))

    def send() -> httpx.Response:
        return alice("POST", "segment", content=jpeg(seed=5), headers={**KEY, "Content-Type": "image/jpeg"})

    def job_that_goes_on() -> str:
        answers = at_once(3, send)
        assert {answer.status_code for answer in answers} == {504}, "each joined the same job"
        (url,) = {answer.json()["job"] for answer in answers}
        return str(url.rsplit("/", 1)[1])

    failed = job_that_goes_on()
    hand_worker.segment(api, failed, failing=image_id)
    cancelled = job_that_goes_on()
    assert cancelled != failed and count(api, Job) == 2
    alice("POST", f"segmentations/{cancelled}/cancel")
    done = job_that_goes_on()
    assert count(api, Job) == 3
    hand_worker.segment(api, done)
    assert [send().status_code, send().status_code] == [200, 200] and count(api, Job) == 3


def test_one_photo_deleted_and_sent_again_with_its_key_is_segmented_anew(alice: Caller, api: FastAPI) -> None:
    photo: dict[str, Any] = {"content": jpeg(seed=5), "headers": {**KEY, "Content-Type": "image/jpeg"}}
    hand_worker.segment(api, alice("POST", "segment", **photo).json()["job"].rsplit("/", 1)[1])
    answer = alice("POST", "segment", **photo)
    alice("DELETE", f"images/{answer.headers['x-image-id']}")
    again = alice("POST", "segment", **photo)
    assert (again.status_code, again.json()["code"]) == (504, "segmentation_not_in_time")
    hand_worker.segment(api, again.json()["job"].rsplit("/", 1)[1])
    assert alice("POST", "segment", **photo).status_code == 200


def test_one_photo_whose_mask_went_before_it_was_told_is_segmented_anew(alice: Caller, api: FastAPI) -> None:
    alice.upload_photos(2)
    hand_worker.adapt(api, alice("POST", "adaptations").json()["id"])
    photo = {"content": jpeg(seed=5), "headers": {**KEY, "Content-Type": "image/jpeg"}}
    first = alice("POST", "segment", **photo).json()["job"]
    hand_worker.segment(api, first.rsplit("/", 1)[1])
    assert alice("DELETE", "models/1").status_code == 204
    again = alice("POST", "segment", **photo)
    assert again.status_code == 504 and again.json()["job"] != first
    hand_worker.segment(api, again.json()["job"].rsplit("/", 1)[1])
    assert alice("POST", "segment", **photo).headers["x-model-version"] == "0"


def test_a_forgotten_key_that_was_used_again_is_left_alone(alice: Caller, api: FastAPI, settings: Settings) -> None:
    slot = idempotency.slot(alice.user_id, "route", "once", "body")
    assert slot is not None
    with api.state.wiring.database.write() as session:
        idempotency.remember(session, settings, slot, {"job_id": "new"}, user_id=alice.user_id)
        assert not idempotency.forget(session, slot, {"job_id": "old"})
        assert idempotency.recall(session, settings, slot) == {"job_id": "new"}
        assert idempotency.forget(session, slot, {"job_id": "new"})
        assert idempotency.recall(session, settings, slot) is None
        assert not idempotency.forget(session, slot, {"job_id": "new"})


def test_a_segmentation_that_failed_is_still_what_its_key_made(alice: Caller, api: FastAPI) -> None:
    (image_id,) = alice.upload_photos(1)
    first = alice("POST", "segmentations", json={"adapt": "never"}, headers=KEY).json()["id"]
    hand_worker.segment(api, first, failing=image_id)
    assert alice("POST", "segmentations", json={"adapt": "never"}, headers=KEY).json()["id"] == first


def test_keys_expire_and_are_swept(alice: Caller, api: FastAPI, settings: Settings) -> None:
    alice.upload_photos(2)
    first = alice("POST", "adaptations", headers=KEY).json()["id"]
    alice("POST", f"adaptations/{first}/cancel")
    database = api.state.wiring.database
    with database.write() as session:
        assert idempotency.sweep(session, settings) == 0
        long_ago = utc_now() - timedelta(hours=settings.idempotency_hours, seconds=1)
        session.execute(update(IdempotencyKey).values(created_at=long_ago))
    second = alice("POST", "adaptations", json={"seed": 3}, headers=KEY).json()["id"]
    assert second != first
    with database.write() as session:
        assert idempotency.sweep(session, settings) == 0  # it was replaced
        session.execute(update(IdempotencyKey).values(created_at=long_ago))
        assert idempotency.sweep(session, settings) == 1


def test_users_do_not_share_their_keys(service: Caller) -> None:
    ids = set()
    for caller in (make_user(service), make_user(service)):
        caller.upload_photos(2)
        ids.add(caller("POST", "adaptations", headers=KEY).json()["id"])
    assert len(ids) == 2
