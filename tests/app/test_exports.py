"""The export, read by the libraries whose formats it speaks."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pycocotools.coco import COCO

from app.exports.names import unique_stems
from app.storage import labels_key
from app.tables import RegisteredBase
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.photos import jpeg

BOTH_DATABASES = True
BASE = "espnetv2"
CLASSES = [{"id": 0, "name": "background", "color": [0, 0, 0]}, {"id": 15, "name": "person", "color": [192, 128, 128]}]


@pytest.fixture(autouse=True)
def registered_base(api: FastAPI) -> None:
    with api.state.wiring.database.write() as session:
        session.add(RegisteredBase(name=BASE, title="A base", classes=CLASSES, licence="MIT", scores={}, is_default=True))


@pytest.fixture
def segmented(api: FastAPI, alice: Caller) -> Caller:
    """A user whose two photos, of one name, have been segmented by the base."""
    alice.upload([("IMG_1.jpg", jpeg(seed=1)), ("img_1.jpg", jpeg(80, 40, seed=2))])
    hand_worker.segment(api, start(alice))
    return alice


def start(caller: Caller, **wish: object) -> str:
    answer = caller("POST", "segmentations", json={"adapt": "never", **wish})
    return str(answer.json()["id"])


def export(caller: Caller, **query: object) -> zipfile.ZipFile:
    answer = caller("GET", "export", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    return archive


def test_coco_is_read_by_pycocotools(segmented: Caller, tmp_path: Path) -> None:
    archive = export(segmented, format="coco")
    assert archive.namelist() == ["annotations.json"]
    coco = COCO(archive.extract("annotations.json", tmp_path))
    assert coco.cats == {15: {"id": 15, "name": "person", "supercategory": ""}}
    assert [image["file_name"] for image in coco.imgs.values()] == ["IMG_1.jpg", "img_1-2.jpg"]
    for number, (width, height) in enumerate([(64, 48), (80, 40)], start=1):
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[number]))
        mask = coco.annToMask(annotation)
        expected = np.ones((height, width), dtype=np.uint8)
        expected[0] = 0  # the hand worker leaves one row of background
        assert np.array_equal(mask, expected)
        assert annotation["area"] == expected.sum()
        assert annotation["bbox"] == [0, 1, width, height - 1]


def test_voc_is_read_by_pillow(segmented: Caller) -> None:
    archive = export(segmented, format="voc")
    assert archive.read("class_names.txt").decode().splitlines()[15] == "person"
    assert "person:192,128,128::" in archive.read("labelmap.txt").decode().splitlines()
    assert archive.read("ImageSets/Segmentation/default.txt").decode().split() == ["IMG_1", "img_1-2"]
    with Image.open(archive.open("SegmentationClass/img_1-2.png")) as mask:
        assert (mask.mode, mask.size) == ("P", (80, 40))
        assert set(np.unique(np.asarray(mask))) == {0, 15}
    photos = json.loads(archive.read("photos.json"))
    assert [photo["filename"] for photo in photos] == ["IMG_1.jpg", "img_1.jpg"]


def test_the_model_in_use_comes_before_the_base(api: FastAPI, segmented: Caller) -> None:
    hand_worker.adapt(api, segmented("POST", "adaptations").json()["id"])
    first = segmented("GET", "images").json()["items"][0]["id"]
    hand_worker.segment(api, start(segmented, image_ids=[first]))
    assert len(json.loads(export(segmented, format="voc").read("photos.json"))) == 2
    personal = export(segmented, format="voc", model="personal")
    assert [photo["image_id"] for photo in json.loads(personal.read("photos.json"))] == [first]
    (left_out,) = json.loads(personal.read("left_out.json"))
    assert (left_out["filename"], left_out["code"]) == ("img_1.jpg", "mask_not_ready")
    assert segmented("GET", "export", params={"model": 7}).json()["code"] == "model_not_found"


def test_a_lost_mask_is_named_and_spoils_no_other(api: FastAPI, segmented: Caller) -> None:
    lost = segmented("GET", "images").json()["items"][0]["id"]
    api.state.wiring.storage.delete(labels_key(segmented.user_id, lost, BASE, 0))
    for format in ("coco", "voc"):
        archive = export(segmented, format=format)
        (left_out,) = json.loads(archive.read("left_out.json"))
        assert (left_out["image_id"], left_out["code"]) == (lost, "mask_missing")
    assert "SegmentationClass/img_1-2.png" in archive.namelist()


def test_nothing_to_export(alice: Caller, bob: Caller) -> None:
    assert alice("GET", "export").json()["code"] == "gallery_empty"
    alice.upload_photos(1)
    assert alice("GET", "export").json()["code"] == "nothing_to_export"
    assert alice("GET", f"/v1/users/{bob.user_id}/export").status_code == 404
    assert alice("GET", "export", params={"format": "zip"}).status_code == 422


def test_names_are_safe_and_unique() -> None:
    names = ["../../etc/passwd.jpg", "C:\\photos\\a.jpg", "A.png", ". .jpg", "naïve (1).jpg", "a-2.jpg", "x" * 300 + ".jpg"]
    assert unique_stems(names) == ["passwd", "a", "A-2", "photo", "naïve (1)", "a-2-2", "x" * 120]
