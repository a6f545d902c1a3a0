"""However many workers there are, the whole blob store is looked through by one of them, and not too often."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.db import Database
from app.errors import StorageUnavailable
from app.settings import Settings
from app.storage import Storage, open_storage, photo_key
from app.sweeping import turn
from app.sweeping.service import sweep_in_turn
from app.tables import Chore, User
from tests.at_once import at_once

BOTH_DATABASES = True
SIX_HOURS = timedelta(hours=6)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


@pytest.fixture
def user_id(database: Database) -> str:
    with database.write() as session:
        user = User()
        session.add(user)
    return user.id


def is_taken(database: Database, every: timedelta = SIX_HOURS) -> bool:
    with turn.taken(database, every) as is_ours:
        return is_ours


def let_pass(database: Database, time: timedelta) -> None:
    with database.write() as session:
        (begun_at,) = session.scalars(select(Chore.begun_at)).all()
        session.execute(update(Chore).values(begun_at=begun_at - time))


def test_of_many_processes_one_has_the_turn(database: Database) -> None:
    assert sum(at_once(6, lambda: is_taken(database))) == 1, "the very first"
    assert sum(at_once(6, lambda: is_taken(database))) == 0
    let_pass(database, SIX_HOURS)
    assert sum(at_once(6, lambda: is_taken(database))) == 1
    assert not is_taken(database)


def test_it_comes_again_after_its_time_and_not_before(database: Database) -> None:
    assert is_taken(database)
    let_pass(database, SIX_HOURS - timedelta(minutes=1))
    assert not is_taken(database)
    let_pass(database, timedelta(minutes=1))
    assert is_taken(database)


def test_a_clock_that_was_set_back_does_not_keep_it_away(database: Database) -> None:
    assert is_taken(database)
    let_pass(database, -timedelta(days=1))
    assert is_taken(database)


def test_who_fails_lets_somebody_else_try(database: Database) -> None:
    with pytest.raises(StorageUnavailable), turn.taken(database, SIX_HOURS) as is_ours:
        assert is_ours
        raise StorageUnavailable("away")
    assert is_taken(database)


def test_who_fails_late_takes_it_from_nobody(database: Database) -> None:
    with pytest.raises(StorageUnavailable), turn.taken(database, SIX_HOURS):
        let_pass(database, SIX_HOURS)
        assert is_taken(database)
        raise StorageUnavailable("away")
    assert not is_taken(database)


def test_whoever_has_not_the_turn_removes_half_written_files_only(
    database: Database, storage: Storage, user_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = photo_key(user_id, "0" * 64)
    storage.put_bytes(orphan, b"x")
    monkeypatch.setattr(Storage, "age_seconds", lambda *_: 7200.0)
    unfinished: list[float] = []
    monkeypatch.setattr(storage, "sweep_unfinished", lambda seconds: (unfinished.append(seconds), 0)[1])

    assert is_taken(database)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(storage, "folders", lambda _: pytest.fail("looked through the store"))
        sweep_in_turn(database, storage, every=SIX_HOURS, unfinished_seconds=60)
    assert (storage.exists(orphan), unfinished) == (True, [60])

    let_pass(database, SIX_HOURS)
    sweep_in_turn(database, storage, every=SIX_HOURS, unfinished_seconds=60)
    assert (storage.exists(orphan), unfinished) == (False, [60, 60])


@pytest.mark.parametrize("has_turn", [True, False])
def test_without_any_user_nothing_is_removed(database: Database, storage: Storage, has_turn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As while a database is being restored."""
    orphan = photo_key("0198f2c4-0000-7000-8000-000000000000", "0" * 64)
    storage.put_bytes(orphan, b"x")
    monkeypatch.setattr(Storage, "age_seconds", lambda *_: 7200.0)
    monkeypatch.setattr(storage, "sweep_unfinished", lambda _: pytest.fail("something was removed"))
    if not has_turn:
        assert is_taken(database)
    sweep_in_turn(database, storage, every=SIX_HOURS, unfinished_seconds=0)
    assert storage.exists(orphan)
