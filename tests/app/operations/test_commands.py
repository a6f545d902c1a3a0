"""The operator's commands, on real databases: what they say, change and refuse."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
import structlog
from click.testing import Result
from sqlalchemy import create_engine, select
from typer.testing import CliRunner

from app import auth, db
from app.cli import app
from app.cli.operations.console import make_settings
from app.cli.operations.jobs import Kind, Status
from app.clock import utc_now
from app.db import Database
from app.erasures import service as erasures
from app.erasures.service import Places
from app.errors import Unauthorized
from app.folder_lock import LOCK_FILE, FolderInUse, lock_folder
from app.settings import REDIS_FILE, Settings
from app.storage import Storage, confidence_key, labels_key, model_key, open_storage, photo_key
from app.tables import (
    DeliveryStatus,
    Image,
    ItemStatus,
    Job,
    JobKind,
    JobStatus,
    Mask,
    PersonalModel,
    SegmentationItem,
    User,
    Webhook,
    WebhookDelivery,
    Worker,
)
from tests.conftest import told_by_environment

BOTH_DATABASES = True
Run = Callable[..., Any]


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The deployment of the test, as the environment tells it to the commands."""
    for name, value in told_by_environment(settings).items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The commands set logging up for their process, which here is that of all tests."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def invoke(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def run(*arguments: str) -> dict[str, Any]:
    """The answer of a command that goes well."""
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def refused(*arguments: str, exit_code: int = 2) -> str:
    """The code of a command that is refused, in one sentence."""
    done = invoke(*arguments, "--json")
    assert done.exit_code == exit_code, done.output
    assert done.stderr.count("\n") == 1, done.stderr
    return str(json.loads(done.stdout)["error"]["code"])


@pytest.fixture
def user(settings: Settings, database: Database) -> str:
    with database.write() as session:
        ann = User(external_id="ann")
        session.add(ann)
    return ann.id


def add_photo(settings: Settings, database: Database, user_id: str, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    open_storage(settings).put_bytes(photo_key(user_id, sha256), content)
    image = Image(user_id=user_id, sha256=sha256, filename="p.jpg", media_type="image/jpeg", byte_size=len(content), width=1, height=1)
    with database.write() as session:
        session.add(image)
    return image.id


def add_model_and_mask(settings: Settings, database: Database, user_id: str, image_id: str) -> dict[str, bytes]:
    """A version of the user's model and one of its masks; returns their blobs by their keys."""
    blob, labels, confidence = (
        model_key(user_id, 1, "0" * 64),
        labels_key(user_id, image_id, "b", 1),
        confidence_key(user_id, image_id, "b", 1),
    )
    blobs = {blob: b"the model", labels: b"the labels", confidence: b"the confidence"}
    for key, content in blobs.items():
        open_storage(settings).put_bytes(key, content)
    of_version = {"user_id": user_id, "base": "b"}
    with database.write() as session:
        session.add(PersonalModel(**of_version, version=1, blob_key=blob, sha256="0" * 64, byte_size=9, report={}))
        session.add(Mask(**of_version, model_version=1, image_id=image_id, labels_key=labels, confidence_key=confidence, classes=[]))
    return blobs


def add_job(database: Database, user_id: str, **values: Any) -> str:
    job = Job(**{"user_id": user_id, "kind": JobKind.SEGMENTATION, "base": "b", "request": {}, **values})
    with database.write() as session:
        session.add(job)
    return job.id


def test_users(settings: Settings, database: Database, user: str) -> None:
    add_photo(settings, database, user, b"a photo")
    key = photo_key(user, hashlib.sha256(b"a photo").hexdigest())
    assert open_storage(settings).exists(key)
    (listed,) = run("users", "list")["items"]
    assert (listed["id"], listed["external_id"], listed["photos"], listed["bytes"]) == (user, "ann", 1, 7)
    assert user in invoke("users", "list").stdout
    assert run("users", "show", "ann")["images"] == run("users", "show", user)["images"] == 1
    assert refused("users", "show", "nobody") == "user_not_found"
    assert refused("users", "erase", "ann") == "not_confirmed"
    assert invoke("users", "erase", "ann", stdin="ann\n").exit_code == 2
    assert run("users", "list")["items"]
    assert invoke("users", "erase", "ann", stdin=f"{user}\n").exit_code == 0
    assert run("users", "list")["items"] == []
    assert not open_storage(settings).exists(key)
    with database.read() as session:
        assert session.query(Image).count() == 0


def test_an_erasure_without_redis_is_said_to_go_on(
    settings: Settings, database: Database, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasures, "_PATIENCE_SECONDS", 0.3)
    monkeypatch.setenv("PERSONALSEG_REDIS_URL", f"unix://{tmp_path}/nowhere.sock")
    add_photo(settings, database, user, b"a photo")
    add_job(database, user, status=JobStatus.SUCCEEDED)
    done = invoke("users", "erase", "ann", "--yes", "--json")
    assert done.exit_code == 0
    erasure = json.loads(done.stdout)
    assert (erasure["status"], erasure["report"]["blobs"]) == ("running", 0)
    assert done.stderr.count("\n") == 1 and "a worker finishes it" in done.stderr
    assert erasures.finish_all(Places(database, open_storage(settings), settings.redis_url), taken_over_after_seconds=-1) == 1
    assert erasures.read(database, erasure["id"]).report.blobs == 1


def test_tokens(settings: Settings, database: Database, user: str) -> None:
    service = run("tokens", "create", "--service")
    assert auth.authenticate(database, service["token"]).is_service
    reading = run("tokens", "create", "--user", "ann", "--read-only", "--expires-in-days", "2")
    assert not auth.authenticate(database, reading["token"]).may_write
    assert [token["id"] for token in run("tokens", "list", "--user", "ann")["items"]] == [reading["id"]]
    assert [token["id"] for token in run("tokens", "list", "--service")["items"]] == [service["id"]]
    assert [token["id"] for token in run("tokens", "list")["items"]] == [reading["id"], service["id"]], "the newest first"
    assert [token["id"] for token in run("tokens", "list", "--limit", "1")["items"]] == [reading["id"]]
    assert service["token"] not in invoke("tokens", "list").output
    run("tokens", "revoke", reading["prefix"])
    run("tokens", "revoke", service["id"])
    for text in (reading["token"], service["token"]):
        with pytest.raises(Unauthorized):
            auth.authenticate(database, text)
    assert refused("tokens", "revoke", "pseg_svc_nope") == "token_not_found"
    assert refused("tokens", "create") == refused("tokens", "create", "--service", "--read-only") == "bad_request"
    assert refused("tokens", "create", "--user", "nobody") == "user_not_found"


def test_jobs(settings: Settings, database: Database, user: str) -> None:
    image = add_photo(settings, database, user, b"one")
    other = add_photo(settings, database, user, b"two")
    old = utc_now() - timedelta(days=1)
    failed = add_job(
        database, user, status=JobStatus.FAILED, attempt=3, error_code="worker_died", created_at=old, finished_at=old, model_version=4
    )
    with database.write() as session:
        session.add(SegmentationItem(job_id=failed, image_id=image, position=0, status=ItemStatus.DONE))
        session.add(SegmentationItem(job_id=failed, image_id=other, position=1, status=ItemStatus.FAILED, error_code="storage_error"))
    queued = add_job(database, user)
    assert [job["id"] for job in run("jobs", "list", "--status", "failed")["items"]] == [failed]
    assert [job["id"] for job in run("jobs", "list", "--user", "ann", "--kind", "segmentation", "--limit", "1")["items"]] == [queued]
    assert failed in invoke("jobs", "list").stdout and "worker_died" in invoke("jobs", "list").stdout
    assert run("jobs", "show", failed)["photos"] == {"done": 1, "failed": 1}
    assert refused("jobs", "show", "nope") == "job_not_found"

    with database.write() as session:
        hook = Webhook(owner=user, user_id=user, url="https://example.org", secret="whsec_")
        session.add(hook)
        session.flush()
        told = {"event": "segmentation.failed", "payload": {}, "status": DeliveryStatus.DELIVERED}
        session.add(WebhookDelivery(webhook_id=hook.id, user_id=user, job_id=failed, **told))
        session.get_one(Job, failed).announced = True
    assert run("jobs", "requeue", failed)["status"] == "queued"
    with database.write() as session:  # its next end will be told
        assert session.get_one(Job, failed).announced is False
        assert session.scalars(select(WebhookDelivery)).all() == []
        session.delete(session.scalars(select(Webhook)).one())
    with database.read() as session:
        row = session.get_one(Job, failed)
        assert (row.attempt, row.error_code, row.finished_at, row.model_version) == (0, None, None, None)
        assert (utc_now() - (row.served_at or old)).total_seconds() < 3600
    # The model is chosen anew, so the photo that is done may need another mask.
    assert run("jobs", "show", failed)["photos"] == {"pending": 2}
    assert redis.Redis.from_url(settings.redis_url).llen("dramatiq:segmentation") == 1
    assert refused("jobs", "requeue", failed) == "job_not_requeued"

    assert run("jobs", "cancel", queued)["status"] == "cancelled"
    running = add_job(database, user, status=JobStatus.RUNNING, lease_expires_at=utc_now() + timedelta(hours=1), attempt=1)
    assert run("jobs", "cancel", running)["status"] == "running"
    assert run("jobs", "show", running)["cancel_requested"] is True


def test_requeueing_an_adaptation_respects_the_one_under_way(settings: Settings, database: Database, user: str) -> None:
    failed = add_job(database, user, kind=JobKind.ADAPTATION, status=JobStatus.FAILED, model_version=2)
    under_way = add_job(database, user, kind=JobKind.ADAPTATION)
    assert refused("jobs", "requeue", failed) == "adaptation_under_way"
    run("jobs", "cancel", under_way)
    assert run("jobs", "requeue", failed)["model_version"] == 2


def test_the_choices_are_those_of_the_tables() -> None:
    assert set(Kind) == set(JobKind) and set(Status) == set(JobStatus)


def test_doctor(settings: Settings, database: Database) -> None:
    done = invoke("doctor")
    assert done.exit_code == 1
    lines = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert {name: line.split()[0] for name, line in lines.items()} == {
        "database": "ok",
        "redis": "ok",
        "storage": "ok",
        "workers": "BAD",
        "jobs": "ok",
        "disk": "ok",
    }
    assert "python -m workers" in lines["workers"]
    with database.write() as session:
        session.add(Worker(queues=["segmentation", "adaptation"], hostname="here", pid=1, device="cpu"))
    assert run("doctor")["well"] is True


def test_doctor_looks_at_the_disk_of_the_blobs_too(
    settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = tmp_path / "elsewhere" / "blobs"
    monkeypatch.setenv("PERSONALSEG_STORAGE_URL", f"file://{blobs}")
    full = tmp_path / "elsewhere"
    settings.data_dir.mkdir(exist_ok=True)
    free = {True: 1024**3, False: 1024**4}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free[Path(folder).is_relative_to(full)]))

    def disk() -> str:
        (line,) = [line for line in invoke("doctor").stdout.splitlines() if line.split()[1] == "disk"]
        return line

    assert disk().startswith(f"BAD  disk      1.0 GiB free at {blobs}. Free some space")
    free[True] = 2 * 1024**4
    assert disk() == f"ok   disk      1024.0 GiB free at {settings.data_dir}"


def test_doctor_sees_jobs_that_nobody_takes(settings: Settings, database: Database, user: str) -> None:
    def jobs_line() -> str:
        (line,) = [line for line in invoke("doctor").stdout.splitlines() if line.split()[1] == "jobs"]
        return line

    with database.write() as session:
        session.add(Worker(queues=["segmentation"], hostname="here", pid=1, device="cpu"))
    waiting = add_job(database, user, kind=JobKind.ADAPTATION)
    assert jobs_line().startswith("ok   jobs      adaptation: 1 waiting")  # a worker may be on its way
    with database.write() as session:
        session.get_one(Job, waiting).created_at = utc_now() - timedelta(seconds=95)
    assert re.search(r"BAD  jobs      adaptation: 1 waiting, the first for \d\d s, and no worker takes them. Start a worker", jobs_line())
    with database.write() as session:
        job = session.get_one(Job, waiting)
        job.status, job.lease_owner, job.lease_expires_at = JobStatus.RUNNING, "here:1", utc_now() - timedelta(seconds=9)
    assert "1 running without a sign of its worker" in jobs_line()


def test_migrate(settings: Settings, database: Database) -> None:
    db.downgrade(settings.database_url, "2026_11_22_turns")
    assert refused("users", "list") == "database_not_ready"
    assert run("migrate") == {"from": "2026_11_22_turns", "to": db.head_revision()}
    assert run("users", "list") == {"items": []}
    with database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = 'from_the_future'")
    assert refused("migrate") == "schema_too_new"
    assert refused("users", "list") == "database_not_ready"


def test_migrate_goes_back(settings: Settings, database: Database, user: str) -> None:
    assert refused("migrate", "--to", "2026_11_22_turns") == "not_confirmed"
    assert refused("migrate", "--to", "2020_01_01_dreams", "--yes") == "unknown_revision"
    assert refused("migrate", "--to", db.head_revision(), "--yes") == "unknown_revision"
    assert db.current_revision(settings.database_url) == db.head_revision()
    assert run("migrate", "--to", "2026_11_22_turns", "--yes") == {"from": db.head_revision(), "to": "2026_11_22_turns"}
    assert db.current_revision(settings.database_url) == "2026_11_22_turns"
    assert run("migrate") == {"from": "2026_11_22_turns", "to": db.head_revision()}
    assert [entry["id"] for entry in run("users", "list")["items"]] == [user]


def test_sweep(settings: Settings, database: Database, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    add_photo(settings, database, user, b"a photo")
    assert run("sweep", "--older-than", "60") == {"unfinished": 0, "orphans": 0, "strangers": 0}
    assert invoke("sweep").stdout.startswith("Removed 0 half-written files, 0 blobs without a row")
    monkeypatch.setenv("PERSONALSEG_DATABASE_URL", "postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    assert refused("sweep", exit_code=3) == "database_error"


def test_a_database_that_is_away(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALSEG_DATABASE_URL", "postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    assert refused("migrate", exit_code=3) == "database_error"
    done = invoke("doctor")
    assert done.exit_code == 1 and "BAD  database" in done.stdout and "secret" not in done.stdout


def test_backup_and_restore(settings: Settings, database: Database, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = add_photo(settings, database, user, b"the photo")
    blobs = add_model_and_mask(settings, database, user, photo)
    gone = add_photo(settings, database, user, b"lost")
    with database.read() as session:
        lost_key = photo_key(user, session.get_one(Image, gone).sha256)
    open_storage(settings).delete(lost_key)
    file = tmp_path / "saved.tar"
    if settings.database_url.startswith("postgresql"):
        assert refused("backup", str(file)) == "needs_pg_dump"
        assert not file.exists()
        return
    made = run("backup", str(file))
    assert (made["blobs"], made["missing"]) == (4, [lost_key])
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name or path.name.startswith(".")] == []
    assert refused("backup", str(file)) == "file_exists"
    assert refused("restore", str(file)) == "target_not_empty"

    elsewhere = tmp_path / "elsewhere"
    restore_to(elsewhere, monkeypatch)
    assert run("restore", str(file))["blobs"] == 4
    back = Settings()
    restored = Database(back.database_url)
    with restored.read() as session:
        assert session.get_one(User, user).external_id == "ann"
        key = photo_key(user, session.get_one(Image, photo).sha256)
    restored.close()
    blobs[key] = b"the photo"
    assert {key: open_storage(back).get_bytes(key) for key in blobs} == blobs
    assert invoke("doctor").stdout.startswith("ok   database")

    for left in ("-wal", "-shm", "-journal"):  # SQLite would play it into the restored database
        folder = tmp_path / f"crashed{left}"
        folder.mkdir()
        (folder / f"personalseg.sqlite3{left}").write_bytes(b"what a crash left")
        monkeypatch.setenv("PERSONALSEG_DATA_DIR", str(folder))
        assert refused("restore", str(file)) == "target_not_empty"
        assert not (folder / "personalseg.sqlite3").exists()


def no_room_for_sqlite(*_: object) -> None:
    """What SQLite raises on a full disk."""
    with closing(sqlite3.connect(":memory:")) as tiny:
        tiny.execute("PRAGMA max_page_count = 1")
        tiny.execute("CREATE TABLE too_much (x)")


def no_room_for_sqlalchemy(*_: object) -> None:
    with create_engine("sqlite://").connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
        connection.exec_driver_sql("CREATE TABLE too_much (x)")


def no_room_for_a_file(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("step", "full"), [("_copy_database", no_room_for_sqlite), ("_contents", no_room_for_sqlalchemy), ("_add", no_room_for_a_file)]
)
def test_a_backup_onto_a_full_disk(
    settings: Settings, database: Database, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, full: Callable[..., None]
) -> None:
    if settings.database_url.startswith("postgresql"):
        pytest.skip("backups are of SQLite")
    there = tmp_path / "backups"
    there.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(f"app.operations.backup.{step}", full)
        assert refused("backup", str(there / "saved.tar"), exit_code=1) == "no_room"
        assert f"no room left in {there} for the backup" in invoke("backup", str(there / "saved.tar")).stderr
    assert list(there.iterdir()) == []
    run("backup", str(there / "saved.tar"))


@pytest.fixture
def saved(settings: Settings, database: Database, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A backup with one photo; the commands work on an empty deployment from here on."""
    if settings.database_url.startswith("postgresql"):
        pytest.skip("backups are of SQLite")
    add_photo(settings, database, user, b"the photo")
    run("backup", str(tmp_path / "saved.tar"))
    restore_to(tmp_path / "elsewhere", monkeypatch)
    return tmp_path / "saved.tar"


def test_a_folder_that_somebody_holds_is_not_restored_into(saved: Path, tmp_path: Path) -> None:
    with lock_folder(tmp_path / "elsewhere"):
        assert refused("restore", str(saved)) == "folder_in_use"
        assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == [LOCK_FILE]
    run("restore", str(saved))
    lock_folder(tmp_path / "elsewhere").close()


def test_nobody_takes_the_folder_while_it_is_restored_into(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `serve` that begins while blobs come back, or while the database is brought to this version."""
    tried = []

    def refused_first(then: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: Any) -> None:
            with pytest.raises(FolderInUse):
                lock_folder(tmp_path / "elsewhere")
            tried.append(then)
            then(*arguments)

        return step

    monkeypatch.setattr(Storage, "put_bytes", refused_first(Storage.put_bytes))
    monkeypatch.setattr(db, "upgrade", refused_first(db.upgrade))
    run("restore", str(saved))
    assert len(tried) == 2


@pytest.mark.parametrize("left", ["", "-wal", "-shm", "-journal"])
def test_a_database_that_comes_while_blobs_are_restored_is_not_replaced(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """Made by a process that takes no lock, such as an API of its own."""
    put, there = Storage.put_bytes, tmp_path / "elsewhere" / f"personalseg.sqlite3{left}"

    def put_and_begin(storage: Storage, key: str, data: bytes) -> None:
        put(storage, key, data)
        there.write_bytes(b"alive")

    monkeypatch.setattr(Storage, "put_bytes", put_and_begin)
    assert refused("restore", str(saved)) == "target_not_empty"
    assert there.read_bytes() == b"alive"
    assert sorted(path.name for path in there.parent.iterdir()) == [LOCK_FILE, "blobs", there.name]


def test_in_a_folder_without_a_database_none_is_made(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restore_to(tmp_path / "elsewhere", monkeypatch)
    for arguments in (("users", "list"), ("doctor",), ("backup", str(tmp_path / "b.tar")), ("users", "erase", "ann", "--yes")):
        assert refused(*arguments) == "no_database"
    assert not (tmp_path / "elsewhere").exists()


def test_the_redis_of_serve_is_found(settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERSONALSEG_REDIS_URL")
    settings.data_dir.mkdir(exist_ok=True)
    left, socket = settings.data_dir / REDIS_FILE, settings.data_dir / "redis.sock"
    left.write_text(f"unix://{socket}\n")
    socket.touch()
    assert make_settings().redis_url == f"unix://{socket}"
    monkeypatch.setenv("PERSONALSEG_REDIS_URL", "redis://elsewhere")
    assert make_settings().redis_url == f"unix://{socket}", "serve brings its own, whatever the setting says"
    socket.unlink()
    assert make_settings().redis_url == "redis://elsewhere", "a killed one has left it"


def restore_to(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the commands work on a deployment with everything in this folder."""
    monkeypatch.setenv("PERSONALSEG_DATA_DIR", str(folder))
    for name in ("DATABASE_URL", "STORAGE_URL"):
        monkeypatch.delenv(f"PERSONALSEG_{name}")


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The tar with its members' bytes changed."""
    import io

    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            stream = old.extractfile(member)
            assert stream is not None
            data = change(member.name, stream.read())
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target


def test_a_damaged_or_hostile_backup_changes_nothing(
    settings: Settings, database: Database, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if settings.database_url.startswith("postgresql"):
        pytest.skip("backups are of SQLite")
    add_photo(settings, database, user, b"the photo")
    good = tmp_path / "good.tar"
    run("backup", str(good))
    (tmp_path / "text.tar").write_bytes(b"no tar")

    def flip(wanted: str) -> Callable[[str, bytes], bytes]:
        return lambda name, data: data[:-1] + bytes([data[-1] ^ 1]) if name.startswith(wanted) else data

    def edit(**changes: Any) -> Callable[[str, bytes], bytes]:
        return lambda name, data: json.dumps({**json.loads(data), **changes}).encode() if name == "manifest.json" else data

    climbing = [{"key": "users/../../climbed", "sha256": "0" * 64, "size": 1}]
    bad = {
        tmp_path / "text.tar": "backup_unreadable",
        rewritten(good, tmp_path / "blob.tar", flip("blobs/")): "backup_unreadable",
        rewritten(good, tmp_path / "database.tar", flip("database")): "backup_unreadable",
        rewritten(good, tmp_path / "format.tar", edit(format=99)): "backup_unreadable",
        rewritten(good, tmp_path / "climb.tar", edit(blobs=climbing)): "backup_unreadable",
        rewritten(good, tmp_path / "future.tar", edit(revision="from_the_future")): "schema_too_new",
    }
    restore_to(tmp_path / "empty", monkeypatch)
    for file, code in bad.items():
        assert refused("restore", str(file)) == code, file.name
        assert not list((tmp_path / "empty").glob("*.sqlite3")), file.name
    assert not list(tmp_path.rglob("climbed"))
    assert refused("restore", str(tmp_path / "missing.tar"), exit_code=1) == "file_error"
    run("restore", str(good))
