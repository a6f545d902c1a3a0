"""Erasing a user: nothing of them is left anywhere, whatever was going on, wherever it broke off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import dramatiq
import pytest
import redis
from fastapi import FastAPI
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app import jobs
from app.clock import utc_now
from app.db import Database
from app.erasures import service as erasures
from app.erasures.service import Places
from app.settings import Settings
from app.storage import Storage, user_prefix
from app.tables import Erasure, Job, Table, User
from tests.app import hand_worker
from tests.app.conftest import Caller, make_user
from tests.app.photos import encoded, jpeg_with_exif, picture

BOTH_DATABASES = True
MAKER = "Nadar-1910"


@pytest.fixture
def places(api: FastAPI) -> Places:
    wiring = api.state.wiring
    return Places(wiring.database, wiring.storage, wiring.settings.redis_url)


def photo_of_a_person() -> bytes:
    """A JPEG whose EXIF names its camera."""
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Make] = MAKER
    return encoded(picture(seed=77), "JPEG", exif=exif)


def everything_of(places: Places, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each place where something of a person could be, and its bytes."""
    for path in folder.rglob("*"):
        yield f"name of {path}", str(path.relative_to(folder)).encode()
        if path.is_file():
            yield str(path), path.read_bytes()
    for key in places.storage.keys("users"):
        yield f"name of {key}", key.encode()
        yield key, places.storage.get_bytes(key)
    with places.database.read() as session:
        for table in Table.metadata.sorted_tables:
            yield f"table {table.name}", repr(session.execute(select(table)).all()).encode()
    client = redis.Redis.from_url(places.redis_url)
    for key in client.keys("*"):
        kind = client.type(key)
        yield f"redis key {key!r}", key
        if kind == b"hash":
            yield f"redis hash {key!r}", repr(client.hgetall(key)).encode()
        elif kind == b"list":
            yield f"redis list {key!r}", repr(client.lrange(key, 0, -1)).encode()
        elif kind == b"zset":
            yield f"redis zset {key!r}", repr(client.zrange(key, 0, -1)).encode()
        elif kind == b"set":
            yield f"redis set {key!r}", repr(client.smembers(key)).encode()
        elif kind == b"string":
            yield f"redis string {key!r}", client.get(key)


def found(places: Places, folder: Path, traces: list[str]) -> list[str]:
    """Where one of these can still be read."""
    return [f"{trace} in {where}" for where, held in everything_of(places, folder) for trace in traces if trace.encode() in held]


def live(caller: Caller, api: FastAPI) -> list[str]:
    """Everything that a user can do; returns what would betray them."""
    photo = photo_of_a_person()
    uploaded = caller.upload([("grandmother-in-the-kitchen.jpg", photo), ("b.jpg", jpeg_with_exif(taken="1999:12:31 23:59:58"))])
    image_ids = [str(entry["image_id"]) for entry in uploaded]
    keyed = {"Idempotency-Key": "a-key-of-hers"}
    adaptation = caller("POST", "adaptations", headers=keyed).json()["id"]
    hand_worker.adapt(api, adaptation)
    segmentation = caller("POST", "segmentations", json={"adapt": "never"}, headers=keyed).json()["id"]
    hand_worker.segment(api, segmentation)
    waiting = caller("POST", "adaptations").json()["id"]
    token = caller("POST", "tokens", json={"scope": "read_only"}).json()
    assert caller("PUT", "webhook", json={"url": "https://hook-of-hers.example/"}).status_code == 201
    traces = [caller.user_id, *image_ids, adaptation, segmentation, waiting, token["id"], token["token"], caller.token]
    traces += [hashlib.sha256(photo).hexdigest(), "grandmother", "a-key-of-hers", MAKER, "1999-12-31", "external-of-hers", "hook-of-hers"]
    return traces


@pytest.fixture
def alice(service: Caller) -> Caller:
    created = service("POST", "/v1/users", json={"external_id": "external-of-hers"}, headers={"Idempotency-Key": "key-for-alice"}).json()
    return Caller(service.client, created["token"], created["id"])


def test_nothing_of_the_user_is_left_and_the_others_keep_theirs(
    alice: Caller, bob: Caller, service: Caller, api: FastAPI, places: Places, tmp_path: Path, settings: Settings
) -> None:
    bob.upload_photos(2)
    hand_worker.adapt(api, bob("POST", "adaptations").json()["id"])
    traces = live(alice, api)
    message = dramatiq.Message(queue_name="adaptation", actor_name="adapt", args=(traces[5],), kwargs={}, options={})
    redis.Redis.from_url(settings.redis_url).hset("dramatiq:adaptation.XQ.msgs", message.message_id, message.encode())
    visible = {trace for trace in traces if found(places, tmp_path, [trace])}
    assert {alice.user_id, "grandmother", "external-of-hers", MAKER, traces[5]} <= visible, "the search finds what is there"

    answer = service("DELETE", f"/v1/users/{alice.user_id}")

    assert answer.status_code == 202
    erasure = answer.json()
    assert (erasure["status"], erasure["user_id"]) == ("succeeded", alice.user_id)
    removed = erasure["report"]
    assert {name: removed[name] for name in ("images", "masks", "models", "jobs", "tokens", "blobs")} == {
        "images": 2,
        "masks": 2,
        "models": 1,
        "jobs": 3,
        "tokens": 2,
        "blobs": 7,
    }
    assert removed["messages"] >= 3
    places.database.engine.dispose()
    assert found(places, tmp_path, traces) == []
    assert service("GET", f"/v1/users/{alice.user_id}").status_code == 404
    assert service("DELETE", f"/v1/users/{alice.user_id}").status_code == 404
    assert alice("GET").status_code == 401
    assert bob("GET").json()["images"] == 2 and bob("GET").json()["active_model_version"] == 1
    assert service("POST", "/v1/users", json={"external_id": "external-of-hers"}).status_code == 201


def test_the_report_can_be_read_and_names_nobody(alice: Caller, bob: Caller, service: Caller) -> None:
    alice.upload_photos(1)
    started = alice("DELETE").json()
    read = service("GET", started["links"]["self"])
    assert read.status_code == 200
    assert read.json() == {key: value for key, value in started.items() if key != "user_id"}
    assert bob("GET", started["links"]["self"]).status_code == 403
    unknown = service("GET", "/v1/erasures/01a2046c-043a-747f-8490-f87cbc06157e")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "erasure_not_found")


@pytest.mark.parametrize("kind", ["adaptations", "segmentations"])
def test_a_running_job_is_stopped_first(
    kind: str, alice: Caller, service: Caller, api: FastAPI, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "_PATIENCE_SECONDS", 0.0)
    image_ids = alice.upload_photos(2)
    job_id = alice("POST", kind, json={} if kind == "adaptations" else {"adapt": "never"}).json()["id"]
    lease = hand_worker.claim(api, job_id)

    started = service("DELETE", f"/v1/users/{alice.user_id}")

    assert started.json()["status"] == "running" and started.headers["retry-after"] == "1"
    assert started.json()["report"]["images"] == 2
    assert alice("GET").status_code == 401 and service("GET", f"/v1/users/{alice.user_id}").status_code == 404
    again = service("DELETE", f"/v1/users/{alice.user_id}").json()
    assert again["id"] == started.json()["id"] and again["report"] == started.json()["report"]
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 0, "the worker still holds the job"
    # The worker writes once more before it sees that it shall stop.
    places.storage.put_bytes(f"{user_prefix(alice.user_id)}/models/late.safetensors", b"late")
    with places.database.write() as session:
        assert jobs.heartbeat(session, lease).cancel_requested
        jobs.cancel(session, lease)
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 1
    finished = service("GET", started.json()["links"]["self"]).json()
    assert finished["status"] == "succeeded" and finished["finished_at"]
    assert finished["report"]["jobs"] == 1 and finished["report"]["blobs"] == 3
    places.database.engine.dispose()
    assert found(places, tmp_path, [alice.user_id, job_id, *image_ids]) == []
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 0


def test_while_the_erasure_goes_on_the_user_is_not_listed_and_their_name_is_free(
    alice: Caller, bob: Caller, service: Caller, places: Places
) -> None:
    assert {user["id"] for user in service("GET", "/v1/users").json()["items"]} == {alice.user_id, bob.user_id}
    erasures.begin(places.database, alice.user_id)
    with places.database.read() as session:
        assert session.get(User, alice.user_id) is not None
    assert [user["id"] for user in service("GET", "/v1/users").json()["items"]] == [bob.user_id]
    assert service("POST", "/v1/users", json={"external_id": "external-of-hers"}).status_code == 201


def test_a_worker_that_died_holds_nothing_up(alice: Caller, service: Caller, api: FastAPI, places: Places) -> None:
    alice.upload_photos(2)
    hand_worker.claim(api, alice("POST", "adaptations").json()["id"], lease_seconds=-1)
    assert service("DELETE", f"/v1/users/{alice.user_id}").json()["status"] == "succeeded"


class Broken(Exception):
    """As if the process had been killed here."""


STEPS = [
    *("queue.forget", "storage.delete_prefix", "repository.delete_some", "repository._some_jobs"),
    *("repository.delete_content", "repository.delete_user", "database.overwrite_deleted"),
]


@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_that_breaks_off_is_finished_by_a_worker(
    step: str, alice: Caller, service: Caller, api: FastAPI, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = live(alice, api)
    owner = {"queue": erasures.queue, "storage": Storage, "repository": erasures.repository, "database": Database}[step.split(".")[0]]

    def die(*_: object, **__: object) -> None:
        raise Broken

    with monkeypatch.context() as broken:
        broken.setattr(owner, step.split(".")[1], die)
        assert service("DELETE", f"/v1/users/{alice.user_id}").status_code == 500
    assert alice("GET").status_code == 401 and service("GET", f"/v1/users/{alice.user_id}").status_code == 404
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 1
    with places.database.read() as session:
        (erasure,) = session.scalars(select(Erasure)).all()
        assert erasure.finished_at is not None and erasure.user_id is None
        assert {name: erasure.report[name] for name in ("images", "models", "jobs")} == {"images": 2, "models": 1, "jobs": 3}
        assert session.scalars(select(User)).all() == []
    places.database.engine.dispose()
    assert found(places, tmp_path, traces) == []


def test_very_many_rows_go_in_parts(alice: Caller, bob: Caller, service: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else writes to SQLite while a part goes."""
    for caller in (alice, bob):
        caller.upload_photos(5)
        for _ in range(4):
            hand_worker.segment(api, caller("POST", "segmentations", json={"adapt": "never"}).json()["id"])
        caller("POST", "segmentations", json={"adapt": "never"})
    parts = []
    delete_these = erasures.repository._delete_these

    def noting(session: Session, name: str, table: type[Job], ids: Sequence[str]) -> dict[str, int]:
        parts.append((name, len(ids)))
        return delete_these(session, name, table, ids)

    monkeypatch.setattr(erasures.repository, "_delete_these", noting)
    monkeypatch.setattr(erasures.repository, "_ROWS_AT_ONCE", 4)
    removed = service("DELETE", f"/v1/users/{alice.user_id}").json()["report"]
    assert (removed["images"], removed["masks"], removed["jobs"]) == (5, 5, 5)
    assert parts == [("masks", 4), ("masks", 1), *[("jobs", 1)] * 5, ("images", 4), ("images", 1)]
    assert len(bob("GET", "images").json()["items"]) == 5 and len(bob("GET", "segmentations").json()["items"]) == 5


def test_a_mark_without_an_erasure_is_found(alice: Caller, places: Places) -> None:
    alice.upload_photos(1)
    with places.database.write() as session:
        session.execute(update(User).where(User.id == alice.user_id).values(erased_at=utc_now()))
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 1
    with places.database.read() as session:
        assert session.scalars(select(User)).all() == []


def test_two_processes_do_not_finish_one_erasure(alice: Caller, places: Places) -> None:
    erasures.begin(places.database, alice.user_id)
    assert erasures.finish_all(places) == 0, "whoever began it is given time"
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 1


def test_without_redis_the_erasure_waits_for_it(alice: Caller, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasures, "_PATIENCE_SECONDS", 0.0)
    alice.upload_photos(2)
    alice("POST", "adaptations")
    away = Places(places.database, places.storage, f"unix://{tmp_path}/nowhere.sock")
    assert erasures.erase(away, alice.user_id).status == "running"
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 1


def test_reports_are_forgotten_after_a_month(alice: Caller, places: Places) -> None:
    done = erasures.erase(places, alice.user_id)
    with places.database.write() as session:
        session.execute(update(Erasure).values(finished_at=utc_now() - timedelta(days=erasures.KEPT_DAYS, seconds=1)))
    erasures.finish_all(places)
    with pytest.raises(Exception, match="no such erasure"):
        erasures.read(places.database, done.id)


def test_an_upload_that_was_under_way_leaves_nothing(
    alice: Caller, api: FastAPI, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user is erased between the storing of the file and its row."""
    store = Storage.put_stream

    def erased_meanwhile(storage: Storage, key: str, source: object) -> None:
        store(storage, key, source)  # type: ignore[arg-type]
        erasures.begin(places.database, alice.user_id)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "put_stream", erased_meanwhile)
        answer = alice("POST", "images", files=[("files", ("grandmother.jpg", photo_of_a_person()))])
    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
    assert places.storage.keys(user_prefix(alice.user_id)) == []
    assert erasures.finish_all(places, taken_over_after_seconds=-1) == 1
    places.database.engine.dispose()
    assert found(places, tmp_path, [alice.user_id, "grandmother", MAKER]) == []


@pytest.mark.parametrize("path", ["adaptations", "segmentations", "tokens"])
def test_nothing_new_is_made_for_a_user_who_is_being_erased(alice: Caller, service: Caller, places: Places, path: str) -> None:
    alice.upload_photos(2)
    erasures.begin(places.database, alice.user_id)
    answer = service("POST", f"/v1/users/{alice.user_id}/{path}", json={} if path != "segmentations" else {"adapt": "never"})
    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


def test_deleting_a_photo_removes_its_file_and_masks(alice: Caller, service: Caller, api: FastAPI, places: Places, tmp_path: Path) -> None:
    photo = photo_of_a_person()
    image_id = str(alice.upload([("grandmother.jpg", photo)])[0]["image_id"])
    alice.upload_photos(2)
    hand_worker.segment(api, alice("POST", "segmentations", json={"adapt": "never"}).json()["id"])
    assert alice("DELETE", f"images/{image_id}").status_code == 204
    assert places.database.overwrite_deleted()
    places.database.engine.dispose()
    assert found(places, tmp_path, [image_id, "grandmother", hashlib.sha256(photo).hexdigest(), MAKER]) == []


def test_any_language_names_a_user(service: Caller) -> None:
    for name in ("ولد", "🌻", "a' OR 1=1 --"):
        created = service("POST", "/v1/users", json={"external_id": name}).json()
        assert service("GET", f"/v1/users/{created['id']}").json()["external_id"] == name


def test_a_user_may_erase_themself(service: Caller) -> None:
    caller = make_user(service)
    assert caller("DELETE").status_code == 202
