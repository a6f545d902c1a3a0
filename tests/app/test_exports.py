"""The export, read by the libraries whose formats it speaks."""

from __future__ import annotations

import io
import json
import sys
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import FrameType
from xml.etree import ElementTree

import anyio
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image
from pycocotools.coco import COCO
from starlette.types import Message
from structlog.testing import capture_logs

from app.errors import StorageUnavailable, TooManyRequests
from app.exports.brush_rle import encode_classes
from app.exports.names import unique_paths, unique_stems
from app.storage import labels_key
from app.streams import OpenStreams, too_many_exports
from app.tables import RegisteredBase
from tests.app import hand_worker
from tests.app.conftest import Caller
from tests.app.leaving import receive_from, serve_once
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
    assert [image["filename"] for image in coco.imgs.values()] == ["IMG_1.jpg", "img_1.jpg"]
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


def test_panoptic_ids_are_those_of_the_document(segmented: Caller) -> None:
    archive = export(segmented, format="coco-panoptic")
    document = json.loads(archive.read("panoptic.json"))
    assert [(entry["id"], entry["name"], entry["isthing"]) for entry in document["categories"]] == [(15, "person", 0)]
    images = {image["id"]: image for image in document["images"]}
    assert len(document["annotations"]) == len(images) == 2
    assert [image["filename"] for image in images.values()] == ["IMG_1.jpg", "img_1.jpg"]
    for annotation in document["annotations"]:
        with Image.open(archive.open(f"panoptic/{annotation['file_name']}")) as picture:
            colors = np.asarray(picture.convert("RGB")).astype(int)
        ids = colors[..., 0] + 256 * colors[..., 1] + 256**2 * colors[..., 2]  # panopticapi.utils.rgb2id
        width, height = images[annotation["image_id"]]["width"], images[annotation["image_id"]]["height"]
        assert ids.shape == (height, width)
        (segment,) = annotation["segments_info"]
        assert set(np.unique(ids)) == {0, segment["id"]}  # 0 is panopticapi's VOID
        assert segment["category_id"] == 15 and segment["area"] == (ids == segment["id"]).sum() == width * (height - 1)
        assert segment["bbox"] == [0, 1, width, height - 1]


def brush_pixels(rle: list[int]) -> np.ndarray:
    """rle-pack's decoder as its author documents it (thi.ng/umbrella, packages/rle-pack), the one that Label Studio runs."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    position = 0

    def read(count: int) -> int:
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    number, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out = np.zeros(number, dtype=np.uint8)
    start = 0
    while start < number:
        repeated = read(1)
        end = start + 1 + read(sizes[read(2)])
        if repeated:
            out[start:end] = read(word)
        else:
            out[start:end] = [read(word) for _ in range(start, end)]
        start = end
    assert len(bits) - position < 8
    return out


def test_label_studio_tasks_hold_the_masks_as_brushes(segmented: Caller) -> None:
    archive = export(segmented, format="labelstudio")
    config = ElementTree.fromstring(archive.read("label_config.xml"))
    (brush,) = config.iter("BrushLabels")
    assert [label.get("value") for label in brush] == ["person"]
    tasks = json.loads(archive.read("tasks.json"))
    assert [task["data"]["image"] for task in tasks] == [f"/data/local-files/?d=photos/{name}" for name in ("IMG_1.jpg", "img_1-2.jpg")]
    assert [task["data"]["filename"] for task in tasks] == ["IMG_1.jpg", "img_1.jpg"]
    for task, (width, height) in zip(tasks, [(64, 48), (80, 40)], strict=True):
        (region,) = task["predictions"][0]["result"]
        assert (region["type"], region["from_name"], region["to_name"]) == ("brushlabels", brush.get("name"), brush.get("toName"))
        assert (region["original_width"], region["original_height"]) == (width, height)
        assert region["value"]["brushlabels"] == ["person"]
        layers = brush_pixels(region["value"]["rle"]).reshape(height, width, 4)
        expected = np.full((height, width), 255)
        expected[0] = 0
        assert all(np.array_equal(layers[..., channel], expected) for channel in range(4))


def test_brush_run_lengths_of_any_mask() -> None:
    random = np.random.default_rng(7)
    for shape in ((1, 1), (3, 5), (200, 331), (1, 70_000)):
        small = random.integers(0, 4, size=shape, dtype=np.uint8)
        for labels in (small, np.sort(small, axis=1), np.zeros(shape, dtype=np.uint8)):
            encoded = encode_classes(Image.fromarray(labels), range(4))
            for class_id, rle in encoded.items():
                pixels = brush_pixels(rle).reshape(*shape, 4)
                assert np.array_equal(pixels[..., 3], np.where(labels == class_id, 255, 0)), (shape, class_id)


def test_confidence_pictures(segmented: Caller) -> None:
    archive = export(segmented, format="confidence")
    listed = json.loads(archive.read("photos.json"))
    assert [entry["confidence"] for entry in listed] == ["confidence/IMG_1.png", "confidence/img_1-2.png"]
    with Image.open(archive.open("confidence/img_1-2.png")) as picture:
        assert picture.size == (80, 40)
        assert set(np.unique(np.asarray(picture))) == {0}  # the hand worker's confidence, not its labels


def test_the_model_in_use_comes_before_the_base(api: FastAPI, segmented: Caller) -> None:
    hand_worker.adapt(api, segmented("POST", "adaptations").json()["id"])
    first = segmented("GET", "images").json()["items"][0]["id"]
    hand_worker.segment(api, start(segmented, image_ids=[first]))
    assert len(json.loads(export(segmented, format="voc").read("photos.json"))) == 2
    assert segmented("GET", "export").headers["X-Photos-Left-Out"] == "0"
    assert segmented("GET", "export", params={"model": "personal"}).headers["X-Photos-Left-Out"] == "1"
    personal = export(segmented, format="voc", model="personal")
    assert [photo["image_id"] for photo in json.loads(personal.read("photos.json"))] == [first]
    (left_out,) = json.loads(personal.read("left_out.json"))
    assert (left_out["filename"], left_out["code"]) == ("img_1.jpg", "mask_not_ready")
    assert segmented("GET", "export", params={"model": 7}).json()["code"] == "model_not_found"


def damaged_inside(png: bytes) -> bytes:
    """The first and the last bytes are as they were."""
    return png[:40] + bytes(len(png) - 80) + png[-40:]


@pytest.mark.parametrize(
    ("damage", "code", "formats"),
    [
        (None, "mask_missing", ("coco", "coco-panoptic", "voc", "labelstudio")),
        (lambda png: b"", "mask_damaged", ("coco", "coco-panoptic", "voc", "labelstudio")),
        (lambda png: png[:-1], "mask_damaged", ("coco", "coco-panoptic", "voc", "labelstudio")),
        (damaged_inside, "mask_damaged", ("coco", "coco-panoptic", "labelstudio")),  # VOC gives the files as they are
    ],
)
def test_a_lost_mask_is_named_and_spoils_no_other(
    api: FastAPI, segmented: Caller, damage: Callable[[bytes], bytes] | None, code: str, formats: Sequence[str]
) -> None:
    lost = segmented("GET", "images").json()["items"][0]["id"]
    storage, key = api.state.wiring.storage, labels_key(segmented.user_id, lost, BASE, 0)
    if damage is None:
        storage.delete(key)
    else:
        storage.put_bytes(key, damage(storage.get_bytes(key)))
    for made_from_it in ("rle", "overlay"):
        answer = segmented("GET", f"images/{lost}/mask", params={"format": made_from_it})
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    archives = {}
    for format in formats:
        archive = export(segmented, format=format)
        (left_out,) = json.loads(archive.read("left_out.json"))
        assert (left_out["image_id"], left_out["code"]) == (lost, code)
        archives[format] = archive
    if "voc" in formats:
        assert "SegmentationClass/img_1-2.png" in archives["voc"].namelist()
    assert len(json.loads(archives["labelstudio"].read("tasks.json"))) == 1
    for format, name in (("coco-panoptic", "panoptic.json"), ("coco", "annotations.json")):
        document = json.loads(archives[format].read(name))
        # a photo without its mask is no photo of nothing
        assert [image["file_name"] for image in document["images"]] == ["img_1-2.jpg"]
        assert {annotation["image_id"] for annotation in document["annotations"]} == {image["id"] for image in document["images"]}


def test_a_photo_deleted_while_the_export_runs_is_no_lost_mask(api: FastAPI, segmented: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (image["id"] for image in segmented("GET", "images").json()["items"])
    storage = api.state.wiring.storage
    get_bytes = storage.get_bytes

    def delete_then_get(key: str) -> bytes:
        segmented("DELETE", f"images/{second}")
        return bytes(get_bytes(key))

    monkeypatch.setattr(storage, "get_bytes", delete_then_get)
    with capture_logs() as lines:
        archive = export(segmented, format="voc")
    (left_out,) = json.loads(archive.read("left_out.json"))
    assert (left_out["image_id"], left_out["code"]) == (second, "image_not_found")
    assert [photo["image_id"] for photo in json.loads(archive.read("photos.json"))] == [first]
    assert not [line for line in lines if line["event"] == "export.mask_lost"]


def test_nothing_to_export(alice: Caller, bob: Caller) -> None:
    assert alice("GET", "export").json()["code"] == "gallery_empty"
    alice.upload_photos(1)
    assert alice("GET", "export").json()["code"] == "nothing_to_export"
    assert alice("GET", f"/v1/users/{bob.user_id}/export").status_code == 404
    assert alice("GET", "export", params={"format": "zip"}).status_code == 422


def has_room(api: FastAPI, caller: Caller) -> bool:
    try:
        api.state.wiring.exports.require_room(caller.user_id)
    except TooManyRequests:
        return False
    return True


def test_a_user_has_so_many_exports_under_way_and_no_more(
    api: FastAPI, segmented: Caller, bob: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring = api.state.wiring
    wiring.__dict__["exports"] = OpenStreams(1, too_many_exports)
    is_read, may_go_on = Event(), Event()
    get_bytes = wiring.storage.get_bytes

    def get_slowly(key: str) -> bytes:
        is_read.set()
        assert may_go_on.wait(30)
        return bytes(get_bytes(key))

    monkeypatch.setattr(wiring.storage, "get_bytes", get_slowly)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(segmented, "GET", "export")
        assert is_read.wait(30)
        refused = segmented("GET", "export")
        of_bob = bob("GET", "export")
        may_go_on.set()
        assert zipfile.ZipFile(io.BytesIO(first.result().content)).namelist() == ["annotations.json"]
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_exports")
    assert int(refused.headers["retry-after"]) >= 1
    assert of_bob.json()["code"] == "gallery_empty", "others have their own"
    assert segmented("GET", "export").status_code == 200, "there is room again"


@pytest.mark.parametrize("how", ["to its end", "the caller hangs up", "the caller is gone", "its source fails", "with nothing to export"])
def test_an_export_counts_while_it_is_open_however_it_ends(
    api: FastAPI, segmented: Caller, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wiring = api.state.wiring
    wiring.__dict__["exports"] = OpenStreams(1, too_many_exports)
    seen: list[bool] = []

    def fail(_key: str) -> bytes:
        raise StorageUnavailable("the store is away")

    if how == "its source fails":
        monkeypatch.setattr(wiring.storage, "get_bytes", fail)

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            seen.append(has_room(api, segmented))
            if how == "the caller is gone":
                raise OSError
            if how == "the caller hangs up":
                await anyio.sleep_forever()

    path = f"/v1/users/{segmented.user_id}/export"
    scope = {
        "type": "http",
        "asgi": {"spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"model=personal" if how == "with nothing to export" else b"format=voc",
        "headers": [(b"authorization", f"Bearer {segmented.token}".encode())],
        "client": ("192.0.2.1", 1),
        "server": ("testserver", 80),
        "root_path": "",
    }

    async def serve() -> None:
        await api(scope, receive_from(how), send)

    before = has_room(api, segmented)
    serve_once(how, serve)
    assert (before, seen[0], has_room(api, segmented)) == (True, False, True)


def test_names_are_safe_and_unique() -> None:
    names = ["../../etc/passwd.jpg", "C:\\photos\\a.jpg", "A.png", ". .jpg", "naïve (1).jpg", "a-2.jpg", "x" * 300 + ".jpg"]
    assert unique_stems(names) == ["passwd", "a", "A-2", "photo", "naïve (1)", "a-2-2", "x" * 200]
    for name in unique_stems(["漢" * 300 + ".jpg", "漢" * 300 + ".png"]):
        assert len(f"{name}.png".encode()) <= 255 and set(name) <= {"漢", "-", "2"}


def test_paths_keep_their_folders_and_lead_nowhere_else() -> None:
    names = ["2019/IMG_1.jpg", "2020/IMG_1.jpg", "2019\\img_1.png", "../../etc/passwd.jpg", "/root/./a.jpg", "C:\\a.jpg", "nul/b.jpg"]
    found = ["2019/IMG_1", "2020/IMG_1", "2019/img_1-2", "etc/passwd", "root/a", "C_/a", "_nul/b"]
    assert unique_paths(names) == found
    # no folder has the name of another photo's mask
    assert unique_paths(["a.jpg", "a.PNG/b.jpg", ".hidden/c.jpg", "…/d.jpg"]) == ["a", "a.PNG_/b", "hidden/c", "_/d"]
    (long,) = unique_paths([f"{'x' * 300}/" * 9 + "a.jpg"])
    assert long == f"{'x' * 200}/{'x' * 200}/a"


def test_names_of_any_script_stay_readable() -> None:
    """A Mac sends letters and their accents apart; Thai has no letters that hold both."""
    decomposed = unicodedata.normalize("NFD", "café.jpg")
    assert unique_stems([decomposed, "café.jpg", "น้ำ.jpg", "हिन्दी.jpg"]) == ["café", "café-2", "น้ำ", "हिन्दी"]
    (long,) = unique_stems([unicodedata.normalize("NFD", "é" * 300) + ".jpg"])
    assert long == "é" * 100


def test_no_name_is_a_device_of_windows() -> None:
    names = ["NUL.jpg", "con.png", "Aux .tar.jpg", "COM1.jpg", "lpt9.jpg", "COM0.jpg", "nullam.jpg", "NUL" + " " * 300 + "x.jpg"]
    assert unique_stems(names) == ["_NUL", "_con", "_Aux .tar", "_COM1", "_lpt9", "COM0", "nullam", "_NUL-2"]
    (long,) = unique_stems(["nul." + "x" * 300 + ".jpg"])
    assert long == "_nul." + "x" * 195


def test_a_photo_keeps_its_suffix_where_it_is_a_short_one(api: FastAPI, alice: Caller) -> None:
    alice.upload([("a." + "b" * 1000, jpeg(seed=1)), ("c.jpeg", jpeg(seed=2))])
    hand_worker.segment(api, start(alice))
    document = json.loads(export(alice, format="coco").read("annotations.json"))
    assert [image["file_name"] for image in document["images"]] == ["a", "c.jpeg"]


@pytest.mark.parametrize("form", ["coco", "coco-panoptic", "labelstudio"])
def test_no_two_photos_have_one_file_name(api: FastAPI, alice: Caller, form: str) -> None:
    """Of a suffix that is none, the whole name is the stem: that may be the other's name."""
    names = ["a.jpg", "a.jpg.~1~", "A.JPG.~2~", "a", "b.c.d.~1~"]
    alice.upload([(name, jpeg(seed=seed)) for seed, name in enumerate(names)])
    hand_worker.segment(api, start(alice))
    archive = export(alice, format=form)
    (document,) = [json.loads(archive.read(name)) for name in archive.namelist() if name.endswith(".json") and "/" not in name]
    images = document["images"] if isinstance(document, dict) else [task["data"] for task in document]
    found = [(image.get("file_name") or image["image"]).casefold() for image in images]
    assert len(set(found)) == len(names), found


def test_a_number_after_a_name_is_the_first_that_is_free() -> None:
    names = ["a.jpg", "a-3.jpg", "A.jpg", "a.jpg", "a-2.jpg", "a.jpg", "a-2.jpg"]
    assert unique_stems(names) == ["a", "a-3", "A-2", "a-4", "a-2-2", "a-5", "a-2-3"]


def test_many_photos_of_one_name_cost_a_few_steps_each() -> None:
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event == "c_call"

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        stems = unique_stems(["image.jpg"] * 1000)
    finally:
        sys.setprofile(before)
    assert (stems[0], stems[-1], len(set(stems))) == ("image", "image-1000", 1000)
    assert calls < 100 * len(stems)
