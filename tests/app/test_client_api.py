"""The client against the real application: what it reads is what the API writes."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import select, update

from app import auth
from app.client import (
    Client,
    Conflict,
    GallerySegmentation,
    InvalidRequest,
    ItemCounts,
    Job,
    JobFailed,
    NotAuthorized,
    NotFound,
    ServerFailed,
)
from app.clock import utc_now
from app.main import create_app
from app.settings import Settings
from app.tables import Webhook
from tests.app import hand_worker
from tests.app.conftest import Caller, TestClient
from tests.app.photos import jpeg


def client_as(caller: Caller, token: str | None = None) -> Client:
    """A client whose requests go to the application in this process."""
    transport: httpx.BaseTransport = caller.client._transport
    return Client("http://testserver", token or caller.token, transport=transport, sleep=lambda seconds: None)


@pytest.fixture
def mine(service: Caller) -> Iterator[Client]:
    """A new user's client."""
    back_end = client_as(service)
    yield back_end.for_user(back_end.create_user("me"))


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Two photos, the copy of one, a text, and nothing at all."""
    contents = {"a.jpg": jpeg(seed=1), "b.jpg": jpeg(seed=2), "copy.jpg": jpeg(seed=1), "text.jpg": b"text", "empty.jpg": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


@pytest.mark.parametrize("batch_files", [1, 2, 16])
def test_upload(mine: Client, photos: list[Path], batch_files: int) -> None:
    results = mine.upload(photos, batch_files=batch_files)
    assert [result.status for result in results] == ["stored", "stored", "duplicate", "rejected", "rejected"]
    assert [result.code for result in results[3:]] == ["not_an_image", "zero_bytes"]
    assert all(result.reason for result in results[3:])
    assert results[2].image_id == results[0].image_id
    gallery = mine.images()
    assert [image.id for image in gallery] == [result.image_id for result in results[:2]]
    assert mine.content(gallery[0].id) == photos[0].read_bytes()
    mine.delete_image(gallery[0].id)
    assert [image.id for image in mine.images()] == [gallery[1].id]


def test_albums_keep_their_folders(mine: Client, tmp_path: Path) -> None:
    for seed, name in enumerate(("2019/IMG_1.jpg", "2020/IMG_1.jpg")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(jpeg(seed=seed))
    mine.upload(tmp_path)
    assert [image.filename for image in mine.images()] == ["2019/IMG_1.jpg", "2020/IMG_1.jpg"]


def test_a_zip_by_the_name_of_a_photo_aborts_no_upload(mine: Client, tmp_path: Path) -> None:
    for index in range(4):
        (tmp_path / f"{index}.jpg").write_bytes(jpeg(seed=index))
    with zipfile.ZipFile(tmp_path / "2.jpg", "w") as archive:
        archive.writestr("Trip/a.jpg", jpeg(seed=8))
        archive.writestr("Trip/b.jpg", jpeg(seed=9))
    (tmp_path / "5.jpg").write_bytes(b"PK\3\4 cut off")
    (tmp_path / "6.zip").write_bytes(b"no zip at all")
    results = mine.upload([*sorted(tmp_path.glob("*.jpg")), tmp_path / "6.zip"])
    assert [(result.path.name, result.status, result.code) for result in results] == [
        ("0.jpg", "stored", None), ("1.jpg", "stored", None), ("a.jpg", "stored", None), ("b.jpg", "stored", None),
        ("3.jpg", "stored", None), ("5.jpg", "rejected", "bad_archive"), ("6.zip", "rejected", "not_an_image"),
    ]  # fmt: skip
    assert results[5].path == tmp_path / "5.jpg"


def test_jobs(mine: Client, photos: list[Path], service: Caller) -> None:
    with pytest.raises(Conflict) as caught:
        mine.adapt()
    assert caught.value.code == "gallery_empty"
    mine.upload(photos)
    job = mine.adapt(budget_seconds=30, seed=3)
    assert (job.kind, job.status, job.queue_position) == ("adaptation", "queued", 1)
    assert [entry.id for entry in mine.jobs("adaptation")] == [job.id]
    segmentation = mine.segment("all", model="base", adapt="never")
    assert [item.status for item in segmentation.items] == ["pending", "pending"]
    ended = mine.wait(mine.cancel(job))
    assert (ended.status, ended.ended) == ("cancelled", True)


class LosesAnswers(httpx.BaseTransport):
    """Loses what is answered to the first PUTs: all of it, or (`arrives=False`) the request itself."""

    def __init__(self, inner: httpx.BaseTransport, count: int, *, arrives: bool = True) -> None:
        self._inner, self._left, self._arrives = inner, count, arrives

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "PUT" or not self._left:
            return self._inner.handle_request(request)
        self._left -= 1
        if self._arrives:
            self._inner.handle_request(request).close()
        raise httpx.ReadError("reset")


@pytest.mark.parametrize("count", [1, 2])
def test_a_webhook_whose_first_answer_was_lost_has_a_secret_that_is_known(mine: Client, service: Caller, api: FastAPI, count: int) -> None:
    def losing(*, arrives: bool = True) -> Client:
        transport = LosesAnswers(service.client._transport, count, arrives=arrives)
        token = mine.create_token().token
        return Client("http://testserver", str(token), user_id=mine.user_id, transport=transport, sleep=lambda seconds: None)

    def stored() -> str:
        with api.state.wiring.database.read() as session:
            found: str = session.scalars(select(Webhook.secret)).one()
        return found

    made = losing().set_webhook("https://example.org/hook")
    assert made.secret == stored()
    # One that was there keeps its secret, whatever was lost.
    with api.state.wiring.database.write() as session:
        session.execute(update(Webhook).values(created_at=utc_now() - timedelta(minutes=1)))
    for arrives in (True, False):
        changed = losing(arrives=arrives).set_webhook(f"https://example.org/{arrives}")
        assert (changed.url, changed.secret, stored()) == (f"https://example.org/{arrives}", None, made.secret)


def test_a_gallery_of_more_photos_than_one_job_takes(settings: Settings, tmp_path: Path) -> None:
    """The first part adapts, the later ones take its model; a photo that is deleted meanwhile is left out; all is told as one."""
    api = create_app(settings.model_copy(update={"max_segmentation_images": 2, "min_gallery_images": 2}))
    with TestClient(api) as http:
        database = api.state.wiring.database
        with database.write() as session:
            token = auth.create_token(session, None)[1]
        back_end = Client("http://testserver", token, transport=http._transport, sleep=lambda seconds: None)
        mine = back_end.for_user(back_end.create_user())
        for index in range(6):
            (tmp_path / f"{index}.jpg").write_bytes(jpeg(seed=index))
        ids = [str(result.image_id) for result in mine.upload(tmp_path)]
        with pytest.raises(InvalidRequest, match="too_many_images") as caught:
            mine.segment()
        assert caught.value.problem["most"] == 2
        seen: list[tuple[str, float | None, int, int]] = []

        def work(job: GallerySegmentation) -> None:
            """Does what is queued, once it has been told of."""
            assert job.item_counts is not None
            seen.append((job.status, job.percent, job.item_counts.done, job.photos_to_come))
            if job.status == "queued":
                if len(job.jobs) == 1:
                    (adaptation,) = mine.jobs("adaptation")
                    hand_worker.adapt(api, adaptation.id)
                    mine.delete_image(ids[2])
                hand_worker.segment(api, job.id)
                if len(job.jobs) == 1:  # another version comes into use meanwhile: the gallery is not to be mixed
                    hand_worker.adapt(api, mine.adapt().id)

        job = mine.segment_all(adapt="always", on_progress=work)
        assert (job.status, job.model_version, job.photos_to_come, len(job.jobs)) == ("succeeded", 1, 0, 3)
        assert [item.image_id for item in job.items] == [ids[0], ids[1], *ids[3:]]
        assert {item.status for item in job.items} == {"done"} and job.item_counts == ItemCounts(done=5)
        assert [status for status, *_ in seen] == ["queued", "running"] * 2 + ["queued", "succeeded"]
        assert [to_come for *_, to_come in seen] == [4, 4, 2, 2, 0, 0]
        percents = [percent for _, percent, *_ in seen]
        assert percents == sorted(percents) and percents[-1] == 100
        assert {mine.job("segmentation", job_id).model_version for job_id in job.jobs} == {1}

        def cancel(job: GallerySegmentation) -> None:
            if job.status == "queued":
                mine.cancel(job)

        stopped = mine.segment_all(model="base", adapt="never", on_progress=cancel)
        assert (stopped.status, stopped.photos_to_come, len(stopped.jobs)) == ("cancelled", 3, 1)
        with pytest.raises(JobFailed):
            stopped.require_success()


def test_a_gallery_that_one_job_takes_is_segmented_in_one(mine: Client, photos: list[Path], api: FastAPI) -> None:
    mine.upload(photos)

    def work(job: GallerySegmentation) -> None:
        if job.status == "queued":
            hand_worker.segment(api, job.id)

    job = mine.segment_all(model="base", adapt="never", on_progress=work)
    assert (job.status, job.percent, job.jobs, job.photos_to_come) == ("succeeded", 100, (job.id,), 0)
    assert mine.job("segmentation", job.id) == Job.model_validate(job.model_dump())


def test_masks_and_models_that_are_not_there(mine: Client, photos: list[Path]) -> None:
    image_id = mine.upload(photos[:1])[0].image_id
    assert image_id is not None
    for ask in (mine.mask, mine.overlay, mine.mask_document):
        with pytest.raises(NotFound) as caught:
            ask(image_id)
        assert caught.value.code == "mask_not_ready"
    assert mine.models() == []
    with pytest.raises(NotFound):
        mine.activate(1)


def test_before_any_worker_the_catalogue_is_not_ready(service: Caller) -> None:
    for ask in (client_as(service).bases, client_as(service).classes):
        with pytest.raises(ServerFailed) as caught:
            ask()
        assert (caught.value.status, caught.value.code) == (503, "no_worker_yet")


def test_wrong_callers(service: Caller, mine: Client, bob: Caller) -> None:
    with pytest.raises(NotAuthorized):
        client_as(service, "pseg_usr_wrong").create_user()
    with pytest.raises(NotAuthorized):
        client_as(bob).create_user()
    foreign = client_as(bob)
    foreign.user_id = mine.user_id
    with pytest.raises(NotFound):
        foreign.images()


def test_an_id_with_a_path_in_it_erases_nobody(mine: Client, service: Caller, bob: Caller) -> None:
    back_end = client_as(service)
    for climb in (lambda: back_end.for_user(str(mine.user_id)).delete_image(f"../../{bob.user_id}"), lambda: mine.delete_image("..")):
        with pytest.raises(InvalidRequest, match="malformed_id"):
            climb()
    assert {mine.user_id, bob.user_id} <= {user.id for user in back_end.users()}


def test_erase(mine: Client, photos: list[Path]) -> None:
    mine.upload(photos)
    assert mine.erase()["report"]["images"] == 2
    with pytest.raises((NotFound, NotAuthorized)):
        mine.images()
