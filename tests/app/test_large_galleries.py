"""What grows with the gallery, and what must not."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import event, insert

from app.db import Database
from app.exports import service as exports
from app.exports.service import ExportFormat
from app.ids import new_id
from app.storage import confidence_key, labels_key
from app.tables import Image, Mask, PersonalModel
from tests.app import hand_worker
from tests.app.conftest import Caller

BOTH_DATABASES = True
BASE = "espnetv2"
PHOTOS = 2000


@pytest.fixture
def image_ids(api_database: Database, alice: Caller) -> list[str]:
    """Alice's photos, each with its mask by version 1: rows without files."""
    ids = [new_id() for _ in range(PHOTOS)]
    photos = [
        {"id": image_id, "filename": f"IMG_{number}.jpg", "sha256": f"{number:064x}", "media_type": "image/jpeg", "byte_size": 1}
        for number, image_id in enumerate(ids)
    ]
    masks = [
        {"image_id": image_id, "labels_key": labels_key(*of_mask), "confidence_key": confidence_key(*of_mask)}
        for image_id in ids
        for of_mask in [(alice.user_id, image_id, BASE, 1)]
    ]
    classes = [{"id": number, "name": "background", "area_share": 0.25, "mean_confidence": 0.9} for number in range(4)]
    with api_database.write() as session:
        session.execute(insert(Image), [{"user_id": alice.user_id, "width": 64, "height": 48, **row} for row in photos])
        of_version = {"user_id": alice.user_id, "model_version": 1, "base": BASE, "classes": classes}
        session.execute(insert(Mask), [{**of_version, **row} for row in masks])
    return ids


@pytest.fixture
def version(api: FastAPI, alice: Caller, image_ids: list[str]) -> int:
    """Made by an adaptation to all of them."""
    report = {"photos": PHOTOS, "groups": [{"index": 0, "photos": image_ids, "size": PHOTOS}]}
    return hand_worker.adapt(api, alice("POST", "adaptations").json()["id"], report=report)


def most_bytes(do: Callable[[], object]) -> int:
    """How much memory it takes at its height."""
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("path", ["adaptations", "models"])
def test_a_list_does_not_read_the_groups_of_its_reports(alice: Caller, version: int, path: str) -> None:
    assert alice("GET", path).json()["items"][0]["report"] == {"photos": PHOTOS}
    # the groups alone are 40 bytes a photo as text, and three times as much as objects
    assert most_bytes(lambda: alice("GET", path)) < 100 * PHOTOS


@pytest.mark.parametrize("wanted", [ExportFormat.VOC, ExportFormat.CONFIDENCE])
def test_an_export_holds_of_each_photo_what_it_uses(api: FastAPI, alice: Caller, version: int, wanted: ExportFormat) -> None:
    gathered: list[Any] = []
    tracemalloc.start()
    try:
        gathered.append(exports.prepare(api.state.wiring, alice.user_id, version, wanted))
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(gathered[0].entries) == PHOTOS and all(entry.mask is not None for entry in gathered[0].entries)
    assert held < 1000 * PHOTOS and most < 2000 * PHOTOS


def test_dropping_a_version_makes_no_object_of_its_masks(api_database: Database, alice: Caller, version: int) -> None:
    loaded: list[str] = []

    def note(row: object, *_: object) -> None:
        loaded.append(type(row).__name__)

    for table in (Mask, PersonalModel):
        event.listen(table, "load", note)
    try:
        assert alice("DELETE", f"models/{version}").status_code == 204
    finally:
        for table in (Mask, PersonalModel):
            event.remove(table, "load", note)
    assert loaded == ["PersonalModel"]
    with api_database.read() as session:
        assert session.query(Mask).count() == 0
