"""The gallery: pages, bytes, conditional GET, deleting."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from app.storage import user_prefix
from tests.app import hand_worker
from tests.app.conftest import Caller


def test_pages_cover_the_gallery_once_in_order(alice: Caller) -> None:
    ids = alice.upload_photos(5)
    seen: list[str] = []
    cursor = None
    for expected in (2, 2, 1):
        page = alice("GET", "images", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        assert len(page["items"]) == expected
        seen += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
    assert cursor is None and seen == ids


@pytest.mark.parametrize("path", ["images", "adaptations", "segmentations", "tokens"])
@pytest.mark.parametrize(
    ("query", "code"),
    [({"cursor": "nonsense!"}, "bad_cursor"), ({"limit": "0"}, "validation_failed"), ({"limit": "x"}, "validation_failed")],
)
def test_bad_pages_are_refused(alice: Caller, path: str, query: dict[str, str], code: str) -> None:
    answer = alice("GET", path, params=query)
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("path", ["content", "thumbnail"])
def test_who_has_the_bytes_is_not_sent_them_again(alice: Caller, path: str) -> None:
    (image_id,) = alice.upload_photos(1)
    first = alice("GET", f"images/{image_id}/{path}")
    again = alice("GET", f"images/{image_id}/{path}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    lines = [("Authorization", f"Bearer {alice.token}"), ("If-None-Match", '"other", "more"'), ("If-None-Match", first.headers["etag"])]
    assert alice.client.get(f"/v1/users/{alice.user_id}/images/{image_id}/{path}", headers=lines).status_code == 304
    other = alice("GET", f"images/{image_id}/{path}", headers={"If-None-Match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


@pytest.mark.parametrize("path", ["content", "thumbnail", "mask"])
def test_the_head_is_that_of_the_whole_answer(alice: Caller, api: FastAPI, path: str) -> None:
    (image_id,) = alice.upload_photos(1)
    hand_worker.segment(api, alice("POST", "segmentations", json={"adapt": "never"}).json()["id"])
    whole, head = (alice(method, f"images/{image_id}/{path}") for method in ("GET", "HEAD"))
    assert (head.status_code, head.headers["etag"], head.headers["content-length"]) == (200, whole.headers["etag"], str(len(whole.content)))


def test_deleting_a_photo_removes_its_masks_and_blobs(alice: Caller, api: FastAPI) -> None:
    gone, kept = alice.upload_photos(2)
    job = alice("POST", "segmentations", json={"adapt": "never"}).json()
    hand_worker.segment(api, job["id"])
    storage = api.state.wiring.storage
    prefix = user_prefix(alice.user_id)
    assert len(storage.keys(prefix)) == 6
    assert alice("DELETE", f"images/{gone}").status_code == 204
    assert len(storage.keys(prefix)) == 3
    for path in ("", "/content", "/thumbnail", "/mask"):
        assert alice("GET", f"images/{gone}{path}").json()["code"] == "image_not_found"
    assert alice("GET", f"images/{kept}/mask").status_code == 200
    assert [item["image_id"] for item in alice("GET", f"segmentations/{job['id']}").json()["items"]] == [kept]
    assert alice("DELETE", f"images/{gone}").status_code == 404
