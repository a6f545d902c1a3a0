"""The migrations on a database that was in use: its rows stay, and what is new has its default."""

from __future__ import annotations

import pytest
import sqlalchemy
from sqlalchemy import RowMapping, select

from app import db
from app.db import Database
from app.tables import Job, RegisteredBase, User
from app.webhooks import outbox

BOTH_DATABASES = True
FIRST = "2026_11_22_first_tables"
NOON = "'2026-11-01 12:00:00.123456'"
# A queued and an ended job; of everything else one row. Columns that are not named are null.
ROWS = {
    "bases": {
        "name, title, classes, licence, scores": "'tiny', 'Tiny', '[{\"id\": 0}]', 'MIT', '{\"miou\": 0.5}'",
        "is_default, registered_at": f"true, {NOON}",
    },
    "users": {"id, external_id, created_at": f"'u1', 'ännchen', {NOON}"},
    "workers": {
        "id, queues, hostname, pid, device, started_at, heartbeat_at": f"'w1', '[\"adaptation\"]', 'here', 7, 'cpu', {NOON}, {NOON}"
    },
    "idempotency_keys": {"user_id, route, key, body_sha256, status, response, created_at": f"'u1', 'r', 'k', 's', 202, '{{}}', {NOON}"},
    "images": {
        "id, user_id, sha256, filename, media_type": "'i1', 'u1', 'abc', 'a.jpg', 'image/jpeg'",
        "byte_size, width, height, taken_at, group_index, created_at": f"5000000000, 4, 3, {NOON}, 2, {NOON}",
    },
    "jobs": {
        "id, user_id, kind, status, request, base, step, steps, percent, attempt, lease_token, cancel_requested, timeline, revision": (
            "'j1', 'u1', 'adaptation', 'succeeded', '{\"seed\": 1}', 'tiny', 3, 3, 100.0, 1, 1, false, '[{\"stage\": \"loading\"}]', 9"
        ),
        "model_version, report, created_at, started_at, finished_at": f"1, '{{\"photos\": 1}}', {NOON}, {NOON}, {NOON}",
    },
    "tokens": {"id, user_id, kind, token_hash, prefix, created_at": f"'t1', 'u1', 'user', 'hash', 'pseg_usr_', {NOON}"},
    "masks": {
        "id, user_id, image_id, model_version, base, job_id": "'m1', 'u1', 'i1', 1, 'tiny', 'j1'",
        "labels_key, confidence_key, classes, created_at": f"'l', 'c', '[]', {NOON}",
    },
    "personal_models": {
        "id, user_id, version, base, job_id, blob_key": "'p1', 'u1', 1, 'tiny', 'j1', 'b'",
        "sha256, byte_size, report, active, created_at": f"'s', 4, '{{}}', true, {NOON}",
    },
    "segmentation_items": {"job_id, image_id, position, status, error_code, error_reason": "'j1', 'i1', 0, 'failed', 'e', 'Why.'"},
}
WAITING = {
    "id, user_id, kind, status, request, base": "'j2', 'u1', 'segmentation', 'queued', '{}', 'tiny'",
    "depends_on, created_at": f"'j1', {NOON}",
    "step, steps, percent, attempt, lease_token, cancel_requested, timeline, revision": "0, 0, 0, 0, 0, false, '[]', 0",
}


@pytest.fixture
def in_use(database_url: str) -> str:
    """A database as the first release left it, with rows in every table."""
    db.downgrade(database_url, "base")
    db.upgrade(database_url, FIRST)
    engine = db.make_engine(database_url)
    with engine.begin() as connection:
        for table, values in [*ROWS.items(), ("jobs", WAITING)]:
            connection.exec_driver_sql(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join(values.values())})")
        tables = set(sqlalchemy.inspect(connection).get_table_names())
    engine.dispose()
    assert tables - {"alembic_version"} == set(ROWS)
    return database_url


def rows_of(url: str) -> dict[str, list[RowMapping]]:
    """Every row that there is, with the columns that there are."""
    engine = db.make_engine(url)
    found = sqlalchemy.MetaData()
    found.reflect(engine)
    with engine.connect() as connection:
        rows = {
            name: list(connection.execute(select(table).order_by(*table.primary_key)).mappings()) for name, table in found.tables.items()
        }
    engine.dispose()
    del rows["alembic_version"]
    return rows


def test_upgrading_keeps_every_row_as_it_was(in_use: str) -> None:
    before = rows_of(in_use)
    db.upgrade(in_use)
    after = rows_of(in_use)
    assert before.pop("idempotency_keys") and after["idempotency_keys"] == []  # forgotten on purpose: a day's worth of retries
    for table, rows in before.items():
        assert [{name: row[name] for name in old} for old, row in zip(rows, after[table], strict=True)] == rows, table
    assert {name: rows for name, rows in after.items() if name not in before and rows} == {}


def test_what_is_new_has_its_default_in_the_rows_of_old(in_use: str) -> None:
    db.upgrade(in_use)
    database = Database(in_use)
    with database.write() as session:
        user = session.get_one(User, "u1")
        assert (user.auto_adapt, user.auto_adapt_seen) == (False, None)
        assert (user.quota_images, user.quota_bytes, user.quota_adaptation_seconds) == (None, None, None)
        base = session.get_one(RegisteredBase, "tiny")
        assert (base.context, base.weights_present) == ("trained", True)
        ended, waiting = session.get_one(Job, "j1"), session.get_one(Job, "j2")
        assert [(job.served_at, job.yielded_at, job.trace) for job in (ended, waiting)] == [(None, None, None)] * 2
        assert (ended.announced, waiting.announced) == (True, False)
        assert outbox.announce(session) == 0  # what ended before there were webhooks is told to nobody
    database.close()
