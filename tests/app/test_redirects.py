"""Photos and masks that the bucket serves itself."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from app.settings import Settings
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.photos import jpeg
from tests.conftest import free_port, requests_told


@pytest.fixture
def settings(settings: Settings, s3_server: str, s3_bucket: str) -> Settings:
    """On a bucket, with redirects to it."""
    own = {"storage_url": f"s3://{s3_bucket}", "storage_endpoint_url": s3_server, "storage_key_id": "key", "storage_secret": "secret"}
    return settings.model_copy(update={**own, "storage_redirect_seconds": 60})


def test_a_photo_comes_from_the_bucket_as_what_it_is(alice: Caller) -> None:
    photo = jpeg(seed=1)
    (entry,) = alice.upload([("süß.jpg", photo)])
    answer = alice("GET", f"images/{entry['image_id']}/content", follow_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["Cache-Control"] == "no-store"
    fetched = httpx.get(answer.headers["Location"], timeout=10)
    assert fetched.content == photo
    assert fetched.headers["Content-Type"] == "image/jpeg"
    assert fetched.headers["Content-Disposition"] == "inline; filename*=UTF-8''s%C3%BC%C3%9F.jpg"


@pytest.mark.parametrize("path", ["content", "mask", "mask?format=confidence"])
def test_the_head_is_the_api_s(api: FastAPI, alice: Caller, path: str) -> None:
    """An address is signed for GET: the bucket refuses a HEAD there."""
    (image_id,) = alice.upload_photos(1)
    hand_worker.segment(api, alice("POST", "segmentations", json={"model": "base", "adapt": "never"}).json()["id"])
    answer = alice("HEAD", f"images/{image_id}/{path}", follow_redirects=False)
    assert answer.status_code == 200
    whole = alice("GET", f"images/{image_id}/{path}", headers={"Sec-Fetch-Site": "same-origin"})
    assert {name: answer.headers[name] for name in ("etag", "content-length", "content-type")} == {
        "etag": whole.headers["etag"],
        "content-length": str(len(whole.content)),
        "content-type": whole.headers["content-type"],
    }


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"X-No-Redirect": "1"}])
def test_our_own_page_is_answered_by_the_api(alice: Caller, headers: dict[str, str]) -> None:
    photo = jpeg(seed=1)
    (entry,) = alice.upload([("a.jpg", photo)])
    answer = alice("GET", f"images/{entry['image_id']}/content", headers=headers, follow_redirects=False)
    assert (answer.status_code, answer.content) == (200, photo)


def test_a_mask_comes_from_the_bucket_and_what_is_made_of_it_from_the_api(api: FastAPI, alice: Caller) -> None:
    (image_id,) = alice.upload_photos(1)
    job = alice("POST", "segmentations", json={"image_ids": "all", "model": "base", "adapt": "never"}).json()
    hand_worker.segment(api, job["id"])
    for form, status in {"png": 307, "confidence": 307, "overlay": 200, "json": 200, "rle": 200}.items():
        answer = alice("GET", f"images/{image_id}/mask", params={"format": form}, follow_redirects=False)
        assert answer.status_code == status, form
        assert form == "rle" or answer.headers["X-Model-Version"] == "0"
        if status == 307:
            fetched = httpx.get(answer.headers["Location"], timeout=10)
            assert fetched.headers["Content-Type"] == "image/png"
            assert fetched.content.startswith(b"\x89PNG")


def test_nobody_elses_photo_is_given_an_address(alice: Caller, bob: Caller) -> None:
    (image_id,) = alice.upload_photos(1)
    answer = Caller(bob.client, bob.token, alice.user_id)("GET", f"images/{image_id}/content", follow_redirects=False)
    assert answer.status_code == 404
    assert "Location" not in answer.headers


def test_a_photo_whose_file_is_gone_is_told_by_the_api(api: FastAPI, alice: Caller) -> None:
    (image_id,) = alice.upload_photos(1)
    api.state.wiring.storage.delete_prefix(f"users/{alice.user_id}/photos")
    answer = alice("GET", f"images/{image_id}/content", follow_redirects=False)
    assert (answer.status_code, answer.json()["code"]) == (404, "photo_missing")


def test_a_version_is_dropped_with_all_its_masks_by_one_request(api: FastAPI, alice: Caller, caplog: pytest.LogCaptureFixture) -> None:
    alice.upload_photos(3)
    hand_worker.adapt(api, alice("POST", "adaptations", json={}).json()["id"])
    hand_worker.segment(api, alice("POST", "segmentations", json={"adapt": "never"}).json()["id"])
    storage = api.state.wiring.storage
    assert len(storage.keys(f"users/{alice.user_id}/masks")) == 6
    with requests_told(caplog) as told:
        assert alice("DELETE", "models/1").status_code == 204
    assert len(told) == 1
    assert [key for key in storage.keys(f"users/{alice.user_id}") if "/photos/" not in key] == []


class TestAway:
    """A bucket whose server does not answer."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"storage_endpoint_url": f"http://127.0.0.1:{free_port()}"})

    def test_it_is_told_as_such(self, alice: Caller) -> None:
        answer = alice("POST", "images", files=[("files", ("a.jpg", jpeg(seed=1)))])
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        assert answer.headers["Retry-After"]
        checks = alice("GET", "/readyz", params={"check": "storage"}).json()["checks"]
        assert not checks["storage"]["ok"]
