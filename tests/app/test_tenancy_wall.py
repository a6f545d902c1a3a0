"""The wall of `app.tenancy`: what a query, a new row and a blob key meet that forget whose they are."""

from __future__ import annotations

from uuid import uuid4

import pytest
from fastapi import FastAPI
from sqlalchemy import delete, exists, func, select, update
from sqlalchemy.orm import aliased

from app import turns
from app.clock import utc_now
from app.db import Database
from app.errors import NotFound
from app.storage import Storage, photo_key
from app.tables import Image, Job, JobKind, Mask, PersonalModel, SegmentationItem, User
from app.tenancy import ForeignAccess, acting_for, for_everyone, guard, require_user
from tests.app import hand_worker
from tests.app.conftest import Caller

BOTH_DATABASES = True


@pytest.fixture
def walled(database: Database) -> Database:
    guard(database)
    return database


@pytest.fixture
def two_users(walled: Database) -> tuple[str, str]:
    with walled.write() as session:
        users = [User(), User()]
        session.add_all(users)
        session.flush()
        for user in users:
            image = Image(user_id=user.id, sha256=user.id, filename="a", media_type="image/jpeg", byte_size=1, width=1, height=1)
            job = Job(user_id=user.id, kind=JobKind.SEGMENTATION, base="b", request={})
            session.add_all([image, job])
            session.flush()
            session.add(SegmentationItem(job_id=job.id, image_id=image.id, position=0))
            session.add(
                Mask(
                    user_id=user.id,
                    image_id=image.id,
                    model_version=0,
                    base="b",
                    job_id=job.id,
                    labels_key=user.id,
                    confidence_key="c",
                    classes=[],
                )
            )
            session.add(
                PersonalModel(
                    user_id=user.id, version=1, base="b", job_id=job.id, blob_key=user.id, sha256="s", byte_size=1, report={}, active=True
                )
            )
    return users[0].id, users[1].id


OWNED = [Image, Job, Mask, PersonalModel]


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.__name__)
def test_a_query_that_forgets_the_user_sees_one_user(walled: Database, two_users: tuple[str, str], table: type[Image]) -> None:
    mine, other = two_users
    alias = aliased(table)
    with walled.read() as session:
        theirs = session.scalars(select(table).where(table.user_id == other)).one()
    with acting_for(mine), walled.read() as session:
        assert {row.user_id for row in session.scalars(select(table))} == {mine}
        assert set(session.scalars(select(table.user_id))) == {mine}
        assert set(session.scalars(select(alias.user_id))) == {mine}
        assert session.execute(select(func.count()).select_from(table)).scalar_one() == 1
        assert session.execute(select(func.count(table.id))).scalar_one() == 1
        assert session.get(table, theirs.id) is None
        assert session.scalars(select(table).where(table.id == theirs.id)).all() == []
        assert not session.execute(select(exists().where(table.id == theirs.id))).scalar_one()
        assert session.execute(select(func.count()).where(table.id == theirs.id)).scalar_one() == 0
    with walled.read() as session:
        assert session.execute(select(func.count()).select_from(table)).scalar_one() == 2
    with acting_for(mine), for_everyone(), walled.read() as session:
        assert session.execute(select(func.count()).select_from(table)).scalar_one() == 2


def test_joins_are_narrowed_too(walled: Database, two_users: tuple[str, str]) -> None:
    mine, _ = two_users
    joined = select(SegmentationItem, Image.user_id).join(Image, SegmentationItem.image_id == Image.id)
    with acting_for(mine), walled.read() as session:
        assert {user_id for _, user_id in session.execute(joined)} == {mine}


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.__name__)
def test_changes_that_forget_the_user_change_one_users(walled: Database, two_users: tuple[str, str], table: type[Image]) -> None:
    mine, other = two_users
    moment = utc_now()
    with acting_for(mine), walled.write() as session:
        session.execute(update(table).values(created_at=moment), execution_options={"synchronize_session": False})
    with walled.read() as session:
        assert set(session.scalars(select(table.user_id).where(table.created_at == moment))) == {mine}
    with acting_for(mine), walled.write() as session:
        session.execute(delete(table))
    with walled.read() as session:
        assert set(session.scalars(select(table.user_id))) == {other}


@pytest.mark.parametrize("table", OWNED, ids=lambda table: table.__name__)
def test_nobody_sees_nothing(walled: Database, two_users: tuple[str, str], table: type[Image]) -> None:
    assert two_users
    with acting_for(None), walled.read() as session:
        assert session.scalars(select(table)).all() == []


def test_a_new_row_of_another_user_is_refused(walled: Database, two_users: tuple[str, str]) -> None:
    mine, other = two_users
    with pytest.raises(ForeignAccess), acting_for(mine), walled.write() as session:
        session.add(Job(user_id=other, kind=JobKind.ADAPTATION, base="b", request={}))


def test_a_new_row_of_a_user_who_is_being_erased_is_refused(walled: Database, two_users: tuple[str, str]) -> None:
    mine, _ = two_users
    with walled.write() as session:
        session.execute(update(User).where(User.id == mine).values(erased_at=utc_now()))
    with pytest.raises(NotFound), acting_for(mine), walled.write() as session:
        session.add(Job(user_id=mine, kind=JobKind.ADAPTATION, base="b", request={}))


def test_a_blob_of_another_user_is_out_of_reach(tmp_path: object) -> None:
    storage = Storage(f"file://{tmp_path}")
    mine, other = str(uuid4()), str(uuid4())
    storage.put_bytes(photo_key(other, "s"), b"theirs")
    with acting_for(mine):
        storage.put_bytes(photo_key(mine, "s"), b"mine")
        assert storage.get_bytes(photo_key(mine, "s")) == b"mine"
        for key in (photo_key(other, "s"), f"users/{mine}x/photos/s", "users", f"users/{mine[:-1]}", "checks/a"):
            for touch in (
                storage.get_bytes,
                storage.exists,
                storage.delete,
                storage.delete_prefix,
                lambda key: storage.put_bytes(key, b""),
            ):
                with pytest.raises(ForeignAccess):
                    touch(key)
    with acting_for(None), pytest.raises(ForeignAccess):
        storage.get_bytes(photo_key(other, "s"))
    with acting_for(mine), pytest.raises(ForeignAccess):
        require_user(other)
    assert storage.get_bytes(photo_key(other, "s")) == b"theirs"


def test_requests_stand_behind_the_wall(api: FastAPI, alice: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository that forgot the user would still show nobody anything of another's."""
    (hers,) = alice.upload_photos(1)
    from app.images import repository

    monkeypatch.setattr(repository, "get", lambda session, _user, image_id: session.get(Image, image_id))
    assert alice("GET", f"images/{hers}").status_code == 200
    for path in (f"images/{hers}", f"images/{hers}/content", f"images/{hers}/thumbnail", f"images/{hers}/mask"):
        assert bob("GET", path).status_code == 404, path
    assert bob("DELETE", f"images/{hers}").status_code == 404
    assert alice("GET", f"images/{hers}").status_code == 200


def test_places_in_line_count_the_others(api: FastAPI, alice: Caller, bob: Caller) -> None:
    api.state.wiring.__dict__["lines"] = turns.RecentLines(0.0)
    for caller in (alice, bob):
        caller.upload_photos(2)
    first = alice("POST", "segmentations", json={"adapt": "never"}).json()
    second = bob("POST", "segmentations", json={"adapt": "never"}).json()
    assert (first["queue_position"], second["queue_position"]) == (1, 2)
    hand_worker.segment(api, first["id"])
    assert bob("GET", f"segmentations/{second['id']}").json()["queue_position"] == 1
