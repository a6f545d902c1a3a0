"""What crashes leave in the blob store goes; what a row speaks of stays, whoever comes at the same moment."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, event

from app.storage import Storage, confidence_key, labels_key, model_key, photo_key, user_prefix
from app.sweeping import photos
from app.sweeping.discarding import aside_prefix
from app.sweeping.service import ROOMS, Swept, sweep_storage
from app.tables import Job, JobKind, JobStatus, Mask, PersonalModel, User
from tests.app.conftest import Caller
from tests.app.photos import jpeg
from tests.conftest import TEST_STORAGE

BOTH_DATABASES = True
NOBODY = "0198f2c4-0000-7000-8000-000000000000"


@pytest.fixture
def storage(api: FastAPI) -> Storage:
    return api.state.wiring.storage


def make_old(storage: Storage) -> None:
    """All that is there now was written two hours ago."""
    then = time.time() - 7200
    for path in Path(storage._root).rglob("*"):
        os.utime(path, (then, then))
    if TEST_STORAGE == "s3":
        from moto.s3.models import s3_backends

        # The bucket's server runs in this process.
        (server,) = [regions["aws"] for regions in s3_backends.values()]
        for blob in server.buckets[storage._root.split("/")[0]].keys.values():
            blob.last_modified = datetime.fromtimestamp(then, UTC).replace(tzinfo=None)


def sweep(api: FastAPI) -> Swept:
    return sweep_storage(api.state.wiring.database, api.state.wiring.storage)


def key_of(alice: Caller, data: bytes) -> str:
    return photo_key(alice.user_id, hashlib.sha256(data).hexdigest())


def test_everything_that_rows_speak_of_stays_and_the_rest_goes_when_it_is_old(api: FastAPI, storage: Storage, alice: Caller) -> None:
    image_id = str(alice.upload([("a.jpg", jpeg())])[0]["image_id"])
    kept = [key_of(alice, jpeg()), model_key(alice.user_id, 1, "0" * 64)]
    kept += [key(alice.user_id, image_id, "tiny", 0) for key in (labels_key, confidence_key)]
    for key in kept[1:]:
        storage.put_bytes(key, b"x")
    with api.state.wiring.database.write() as session:
        session.add(PersonalModel(user_id=alice.user_id, version=1, base="tiny", blob_key=kept[1], sha256="0" * 64, byte_size=1, report={}))
        keys = {"labels_key": kept[2], "confidence_key": kept[3]}
        session.add(Mask(user_id=alice.user_id, image_id=image_id, model_version=0, base="tiny", classes=[], **keys))
    orphans = [photo_key(alice.user_id, "1" * 64), model_key(alice.user_id, 2, "1" * 64), labels_key(alice.user_id, "gone", "tiny", 0)]
    for key in orphans:
        storage.put_bytes(key, b"x")
    other_room = f"users/{alice.user_id}/another-room/x"
    storage.put_bytes(other_room, b"x")
    assert sweep(api) == Swept(0, 0, 0)
    make_old(storage)
    assert sweep(api) == Swept(0, len(orphans), 0)
    assert [storage.exists(key) for key in orphans] == [False] * 3
    assert all(storage.exists(key) for key in [*kept, other_room])


def test_the_rows_of_all_photos_are_read_once_however_many_blobs_go(api: FastAPI, storage: Storage, alice: Caller) -> None:
    alice.upload_photos(2)
    for number in range(8):
        storage.put_bytes(photo_key(alice.user_id, f"{number:064}"), b"x")
    make_old(storage)
    of_all_photos: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Sequence[object], *_rest: object) -> None:
        if "FROM images" in statement and len(parameters) == 1:
            of_all_photos.append(statement)

    event.listen(api.state.wiring.database.engine, "before_cursor_execute", note)
    assert sweep(api) == Swept(0, 8, 0)
    assert len(of_all_photos) == 1


def test_the_blobs_of_a_user_are_listed_once(api: FastAPI, storage: Storage, alice: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.upload_photos(2)
    listed, keys = [], storage.keys
    monkeypatch.setattr(storage, "keys", lambda prefix: (listed.append(prefix), keys(prefix))[1])
    sweep(api)
    assert [prefix for prefix in listed if prefix.startswith("users/")] == [user_prefix(alice.user_id)]


def test_one_blob_is_asked_for_as_all_are(api: FastAPI, alice: Caller, bob: Caller) -> None:
    """Every key that some row speaks of, its neighbours, and the same keys asked for somebody else."""
    user_id, database = alice.user_id, api.state.wiring.database
    image_ids = alice.upload_photos(2)
    with database.write() as session:
        for version in (1, 2):
            model = {"base": "tiny", "blob_key": model_key(user_id, version, "0" * 64), "sha256": "0" * 64, "byte_size": 1, "report": {}}
            session.add(PersonalModel(user_id=user_id, version=version, **model))
        for image_id in image_ids:
            keys = {"labels_key": labels_key(user_id, image_id, "a/b", 1), "confidence_key": confidence_key(user_id, image_id, "a/b", 1)}
            session.add(Mask(user_id=user_id, image_id=image_id, model_version=1, base="a/b", classes=[], **keys))
        common = {"user_id": user_id, "base": "tiny", "request": {}, "lease_token": 3}
        running = Job(**common, kind=JobKind.ADAPTATION, status=JobStatus.RUNNING)
        ended = Job(**common, kind=JobKind.ADAPTATION, status=JobStatus.FAILED)
        of_another_kind = Job(**common, kind=JobKind.SEGMENTATION, status=JobStatus.RUNNING)
        session.add_all(jobs := [running, ended, of_another_kind])
    strays = {
        "photos": ["photos", "photos/x", f"photos/below/{hashlib.sha256(jpeg()).hexdigest()}"],
        "models": ["models/x", f"models/3-{'0' * 64}.safetensors"],
        "masks": ["masks", "masks/x", f"masks/{image_ids[0]}/a/b-v2.labels.png", "masks/gone/a/b-v1.labels.png"],
        "checkpoints": [f"checkpoints/{job.id}/{token:08d}.safetensors" for job in jobs for token in (0, 1, 4)],
    }
    for room, rows in ROOMS.items():
        with database.read() as session:
            wanted = rows.keys(session, user_id)
            assert len(wanted) == {"photos": 2, "models": 2, "masks": 4, "checkpoints": 3}[room]
            for key in wanted | {f"users/{user_id}/{stray}" for stray in strays[room]}:
                assert rows.speak_of(session, user_id, key) == (key in wanted), key
                assert not rows.speak_of(session, bob.user_id, key), key


def test_what_checks_that_were_killed_left_goes_when_it_is_old(api: FastAPI, storage: Storage, alice: Caller) -> None:
    alice.upload([("a.jpg", jpeg())])
    for name in ("0a0b", "0c0d"):
        storage.put_bytes(f"checks/{name}", b"ok")
    assert sweep(api) == Swept(0, 0, 0)
    make_old(storage)
    storage.put_bytes("checks/young", b"ok")
    assert sweep(api) == Swept(2, 0, 0)
    assert storage.keys("checks") == ["checks/young"]
    assert storage.exists(key_of(alice, jpeg()))


def test_blobs_of_nobody_go_when_they_are_old(api: FastAPI, storage: Storage, alice: Caller) -> None:
    alice.upload([("a.jpg", jpeg())])
    old, young = (f"users/{NOBODY}/photos/{name}" for name in ("abc", "def"))
    aside = f"{aside_prefix(NOBODY)}/photos!ghi!0a0b0c0d"
    for key in (old, aside):
        storage.put_bytes(key, b"x")
    assert sweep(api) == Swept(0, 0, 0)
    make_old(storage)
    storage.put_bytes(young, b"x")
    assert sweep(api) == Swept(0, 0, 2)
    assert storage.keys(f"users/{NOBODY}") == [young]
    make_old(storage)
    assert sweep(api) == Swept(0, 0, 1)
    assert storage.folders("users") == [alice.user_id]


def test_a_database_without_users_costs_nobody_a_photo(
    api: FastAPI, storage: Storage, alice: Caller, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a worker sees beside a fresh database, or in the middle of a restore."""
    alice.upload([("a.jpg", jpeg())])
    make_old(storage)
    with api.state.wiring.database.write() as session:
        session.execute(delete(User))
    assert sweep(api) == Swept(0, 0, 0)
    assert storage.get_bytes(key_of(alice, jpeg())) == jpeg()
    assert "storage.not_swept" in capsys.readouterr().err


@pytest.mark.parametrize("loses_all", [True, False])
def test_users_who_come_back_while_their_blobs_are_removed_keep_them(
    api: FastAPI, storage: Storage, alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch, loses_all: bool
) -> None:
    """A restore that begins, or ends, between the first look at the users and the second."""
    alice.upload([("a.jpg", jpeg())])
    make_old(storage)
    database, move = api.state.wiring.database, storage.move
    with database.write() as session:
        session.execute(delete(User).where(User.id == alice.user_id))

    def move_and_restore(key: str, target: str) -> bool:
        with database.write() as session:
            if loses_all:
                session.execute(delete(User))
            elif session.get(User, alice.user_id) is None:
                session.add(User(id=alice.user_id))
        return move(key, target)

    monkeypatch.setattr(storage, "move", move_and_restore)
    assert sweep(api) == Swept(0, 0, 0)
    assert storage.get_bytes(key_of(alice, jpeg())) == jpeg()


def test_a_restore_that_begins_while_a_users_blobs_are_looked_at_costs_none(
    api: FastAPI, storage: Storage, alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice.upload([("a.jpg", jpeg())])
    make_old(storage)
    keys = storage.keys

    def list_and_lose_all(prefix: str) -> list[str]:
        with api.state.wiring.database.write() as session:
            session.execute(delete(User))
        return keys(prefix)

    monkeypatch.setattr(storage, "keys", list_and_lose_all)
    assert sweep(api) == Swept(0, 0, 0)
    assert storage.get_bytes(key_of(alice, jpeg())) == jpeg()


def test_a_blob_that_gets_its_row_while_it_is_removed_comes_back(api: FastAPI, storage: Storage, alice: Caller) -> None:
    alice.upload([("a.jpg", jpeg())])
    sha256 = hashlib.sha256(jpeg()).hexdigest()
    assert not photos.discard(api.state.wiring.database, storage, alice.user_id, sha256)
    assert storage.get_bytes(key_of(alice, jpeg())) == jpeg()
    assert storage.keys(aside_prefix(alice.user_id)) == []


def test_an_upload_whose_blob_is_removed_under_it_puts_it_again(api: FastAPI, storage: Storage, alice: Caller) -> None:
    """The remover comes after the blob is there and before the row is: the worst moment."""
    put = storage.put_stream

    def put_and_lose(key: str, source: object) -> None:
        put(key, source)  # type: ignore[arg-type]
        storage.put_stream = put  # type: ignore[method-assign]
        sha256 = key.rsplit("/", 1)[-1]
        assert photos.discard(api.state.wiring.database, storage, alice.user_id, sha256)

    storage.put_stream = put_and_lose  # type: ignore[method-assign]
    assert alice.upload([("a.jpg", jpeg())])[0]["status"] == "stored"
    assert storage.get_bytes(key_of(alice, jpeg())) == jpeg()


@pytest.mark.parametrize("has_row", [True, False])
def test_what_a_crash_left_set_aside_is_settled(api: FastAPI, storage: Storage, alice: Caller, has_row: bool) -> None:
    key = key_of(alice, jpeg())
    if has_row:
        alice.upload([("a.jpg", jpeg())])
    else:
        storage.put_bytes(key, jpeg())
    storage.move(key, f"{aside_prefix(alice.user_id)}/{key.split('/', 2)[2].replace('/', '!')}!0a0b0c0d")
    make_old(storage)
    sweep(api)
    assert storage.exists(key) == has_row
    assert storage.keys(aside_prefix(alice.user_id)) == []


@pytest.mark.parametrize("loses_all", [True, False])
def test_a_restore_that_begins_while_what_was_set_aside_is_settled_costs_none(
    api: FastAPI, storage: Storage, alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch, loses_all: bool
) -> None:
    alice.upload([("a.jpg", jpeg())])
    key = key_of(alice, jpeg())
    storage.move(key, f"{aside_prefix(alice.user_id)}/{key.split('/', 2)[2].replace('/', '!')}!0a0b0c0d")
    make_old(storage)
    keys = storage.keys

    def lose_users_and_list(prefix: str) -> list[str]:
        if prefix == user_prefix(alice.user_id):
            with api.state.wiring.database.write() as session:
                session.execute(delete(User) if loses_all else delete(User).where(User.id == alice.user_id))
        return keys(prefix)

    monkeypatch.setattr(storage, "keys", lose_users_and_list)
    assert sweep(api) == Swept(0, 0, 0)
    assert storage.get_bytes(key) == jpeg()


def test_a_row_that_is_refused_leaves_no_blob(
    api: FastAPI, storage: Storage, service: Caller, alice: Caller, fails: Callable[[], None]
) -> None:
    fails()
    answer = alice("POST", "images", files=[("files", ("a.jpg", jpeg()))])
    assert answer.status_code == 500
    assert storage.keys(f"users/{alice.user_id}/photos") == []


@pytest.fixture
def fails(api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The database refuses the next photo's row."""
    from app.images import intake

    def broken(*_arguments: object, locked: bool = False, **_options: object) -> None:
        if locked:
            raise RuntimeError("a defect")

    return lambda: monkeypatch.setattr(intake.quotas, "require_room", broken)


def test_a_user_erased_during_the_upload_is_unknown_and_keeps_nothing(
    api: FastAPI, storage: Storage, alice: Caller, service: Caller
) -> None:
    put = storage.put_stream

    def put_and_erase(key: str, source: object) -> None:
        put(key, source)  # type: ignore[arg-type]
        assert service("DELETE", f"/v1/users/{alice.user_id}").status_code == 202
        put(key, source)  # type: ignore[arg-type]

    storage.put_stream = put_and_erase  # type: ignore[method-assign]
    answer = alice("POST", "images", files=[("files", ("a.jpg", jpeg()))])
    assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")
    assert storage.keys(f"users/{alice.user_id}") == []
