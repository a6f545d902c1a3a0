"""Uploads: good files, bad files, bad bodies."""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import anyio
import pillow_heif
import pytest
from fastapi import FastAPI, Request
from PIL import Image

from app.images.multipart import BodyBounds, received_files
from tests.app.conftest import Caller
from tests.app.photos import encoded, jpeg, jpeg_with_exif, picture, png_claiming


def heic() -> bytes:
    pillow_heif.register_heif_opener()
    return encoded(picture(), "HEIF")


BAD_FILES = {
    "zero_bytes": b"",
    "not_an_image": b"I am only called a picture.",
    "truncated_image": jpeg(400, 300)[:3000],
    "unsupported_format": encoded(picture(), "GIF"),
    "too_many_pixels": png_claiming(40_000, 40_000),
    "file_too_large": b"\xff\xd8\xff" + bytes(2_000_000),
}


@pytest.fixture(autouse=True)
def temporary_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Every test here also shows that no temporary file of an upload stays."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert list(folder.iterdir()) == []


def test_bad_files_are_rejected_by_name_and_the_good_ones_stored(alice: Caller) -> None:
    files = [(f"{code}.jpg", data) for code, data in BAD_FILES.items()]
    results = alice.upload([("first.jpg", jpeg(seed=1)), *files, ("last.jpg", jpeg(seed=2))])
    assert [entry["filename"] for entry in results] == ["first.jpg", *[name for name, _ in files], "last.jpg"]
    assert [entry["status"] for entry in results] == ["stored", *["rejected"] * len(files), "stored"]
    assert [entry["code"] for entry in results[1:-1]] == list(BAD_FILES)
    assert all(entry["reason"] for entry in results[1:-1])
    assert len(alice("GET", "images").json()["items"]) == 2


@pytest.mark.parametrize(("size", "code"), [((3163, 3163), "too_many_pixels"), ((3162, 3162), "truncated_image")])
def test_pixels_are_counted_before_decoding(alice: Caller, size: tuple[int, int], code: str) -> None:
    # The bound of these tests is 10,000,000; the data behind the header is a few bytes.
    assert alice.upload([("a.png", png_claiming(*size))])[0]["code"] == code


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (jpeg(), "image/jpeg"),
        (encoded(picture(), "PNG"), "image/png"),
        (encoded(picture(), "WEBP"), "image/webp"),
        (encoded(picture(), "TIFF"), "image/tiff"),
        (heic(), "image/heic"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_format_is_told_by_its_content(alice: Caller, data: bytes, media_type: str) -> None:
    image_id = alice.upload([("a.txt", data)])[0]["image_id"]
    image = alice("GET", f"images/{image_id}").json()
    assert (image["media_type"], image["width"], image["height"]) == (media_type, 64, 48)
    content = alice("GET", f"images/{image_id}/content")
    assert content.content == data and content.headers["content-type"] == media_type
    thumbnail = alice("GET", f"images/{image_id}/thumbnail", params={"size": 32})
    assert thumbnail.headers["content-type"] == "image/jpeg" and thumbnail.status_code == 200


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16", "LA"])
def test_unusual_pixels_are_taken_and_shown(alice: Caller, mode: str) -> None:
    form = "TIFF" if mode in {"CMYK", "I;16"} else "PNG"
    image = Image.new("I;16", (64, 48), 40_000) if mode == "I;16" else picture(mode=mode)
    image_id = alice.upload([("a", encoded(image, form))])[0]["image_id"]
    assert alice("GET", f"images/{image_id}/thumbnail").status_code == 200


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "HEIF"])
def test_a_file_cut_off_anywhere_is_rejected(alice: Caller, form: str) -> None:
    pillow_heif.register_heif_opener()
    whole = encoded(picture(300, 200, seed=9), form)
    cuts = [*range(1, 40, 4), *(len(whole) * part // 12 for part in range(1, 12))]
    results = alice.upload([(f"{cut}", whole[:cut]) for cut in cuts])
    assert {(entry["status"], entry["code"]) for entry in results} <= {
        ("rejected", "truncated_image"),
        ("rejected", "not_an_image"),
    }
    assert results[-1]["code"] == "truncated_image"


def test_sizes_are_upright_and_the_time_is_utc(alice: Caller) -> None:
    turned = jpeg_with_exif(orientation=6, taken="2024:05:31 18:02:11", offset="+02:00")
    image_id = alice.upload([("a.jpg", turned)])[0]["image_id"]
    image = alice("GET", f"images/{image_id}").json()
    assert (image["width"], image["height"], image["taken_at"]) == (48, 64, "2024-05-31T16:02:11Z")
    thumbnail = alice("GET", f"images/{image_id}/thumbnail", params={"size": 32})
    with Image.open(io.BytesIO(thumbnail.content)) as small:
        assert small.size == (24, 32)
        assert not small.getexif()


@pytest.mark.parametrize("offset", [None, "   :  ", "\0\0\0", ""])
def test_a_blank_offset_is_read_as_utc(alice: Caller, offset: str | None) -> None:
    photo = jpeg_with_exif(taken="2024:05:31 18:02:11", offset=offset)
    image_id = alice.upload([("a.jpg", photo)])[0]["image_id"]
    assert alice("GET", f"images/{image_id}").json()["taken_at"] == "2024-05-31T18:02:11Z"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("form-data; name=files; filename*=UTF-8''Gr%C3%BCn.jpg", "Grün.jpg"),
        ("form-data; name=files; filename*=Gr%C3%BCn.jpg", "Grün.jpg"),
        ("form-data; name=files; filename=\"a.jpg\"; filename*=UTF-8''Gr%C3%BCn.jpg", "a.jpg"),
    ],
)
def test_a_name_in_the_extended_form_makes_a_file_too(alice: Caller, disposition: str, name: str) -> None:
    body = f"--b\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + jpeg() + b"\r\n--b--\r\n"
    answer = alice("POST", "images", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert [(entry["filename"], entry["status"]) for entry in answer.json()["results"]] == [(name, "stored")]


@pytest.mark.parametrize("taken", ["0000:00:00 00:00:00", "yesterday", "2024:13:45 99:99:99", ""])
def test_a_nonsense_time_is_no_time(alice: Caller, taken: str) -> None:
    image_id = alice.upload([("a.jpg", jpeg_with_exif(taken=taken))])[0]["image_id"]
    assert alice("GET", f"images/{image_id}").json()["taken_at"] is None


def test_the_same_bytes_are_stored_once_per_user(alice: Caller, bob: Caller, api: FastAPI) -> None:
    first = alice.upload([("a.jpg", jpeg())])[0]
    again = alice.upload([("b.jpg", jpeg()), ("c.jpg", jpeg())])
    assert [(entry["status"], entry["image_id"]) for entry in again] == [("duplicate", first["image_id"])] * 2
    other = bob.upload([("a.jpg", jpeg())])[0]
    assert other["status"] == "stored" and other["image_id"] != first["image_id"]


def test_a_photo_whose_file_is_lost_gets_it_back_from_the_same_bytes(alice: Caller, api: FastAPI) -> None:
    (image_id,) = (entry["image_id"] for entry in alice.upload([("a.jpg", jpeg())]))
    api.state.wiring.storage.delete_prefix(f"users/{alice.user_id}/photos")
    assert alice("GET", f"images/{image_id}/content").json()["code"] == "photo_missing"
    (again,) = alice.upload([("b.jpg", jpeg())])
    assert (again["status"], again["image_id"]) == ("duplicate", image_id)
    assert alice("GET", f"images/{image_id}/content").content == jpeg()


def test_a_photo_that_is_deleted_while_it_gets_its_file_back_leaves_none(alice: Caller, api: FastAPI) -> None:
    storage = api.state.wiring.storage
    (image_id,) = (entry["image_id"] for entry in alice.upload([("a.jpg", jpeg())]))
    photos = f"users/{alice.user_id}/photos"
    storage.delete_prefix(photos)
    put_stream = storage.put_stream

    def delete_then_put(key: str, source: IO[bytes]) -> None:
        assert alice("DELETE", f"images/{image_id}").status_code == 204
        put_stream(key, source)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "put_stream", delete_then_put)
        alice.upload([("b.jpg", jpeg())])
    assert storage.keys(photos) == []


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ({"content-type": "application/json"}, b"{}", 415, "not_multipart"),
        ({}, b"", 415, "not_multipart"),
        ({"content-type": "multipart/form-data"}, b"x", 400, "bad_multipart"),
        ({"content-type": "multipart/form-data; boundary=b"}, b"nonsense", 400, "bad_multipart"),
        ({"content-type": "multipart/form-data; boundary=b"}, b"", 400, "bad_multipart"),
        (
            {"content-type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\nhalf',
            400,
            "bad_multipart",
        ),
        (
            {"content-type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n--b--\r\n',
            422,
            "no_files",
        ),
        (
            {"content-type": "multipart/form-data; boundary=b"},
            b"--b\r\nX: " + b"y" * 20_000 + b"\r\n\r\n\r\n--b--\r\n",
            400,
            "bad_multipart",
        ),
        (
            {"content-type": "multipart/form-data; boundary=b"},
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + b"y" * 2**20 + b'"\r\n\r\n\r\n--b--\r\n',
            400,
            "bad_multipart",
        ),
    ],
)
def test_a_bad_body_has_its_code(alice: Caller, headers: dict[str, str], body: bytes, status: int, code: str) -> None:
    answer = alice("POST", "images", headers=headers, content=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def test_a_full_disk_is_said_and_what_was_stored_is_kept(alice: Caller, api: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    alice.upload([("kept.jpg", jpeg(seed=1))])
    storage = type(api.state.wiring.storage)

    def no_room(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(storage, "put_stream", no_room)
        answer = alice("POST", "images", files=[("files", ("a.jpg", jpeg(seed=2)))])
    assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    assert alice.upload([("a.jpg", jpeg(seed=2))])[0]["status"] == "stored"
    assert len(alice("GET", "images").json()["items"]) == 2


def test_hostile_file_names_are_only_text(alice: Caller) -> None:
    files = [("../../etc/passwd", jpeg(seed=1)), ("x" * 3000, jpeg(seed=2)), ("été 🌻.jpg", jpeg(seed=3))]
    ids = [entry["image_id"] for entry in alice.upload(files)]
    names = [alice("GET", f"images/{image_id}").json()["filename"] for image_id in ids]
    assert names == ["../../etc/passwd", "x" * 1024, "été 🌻.jpg"]
    assert all(alice("GET", f"images/{image_id}/content").status_code == 200 for image_id in ids)


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="where open files are not listed they cannot be counted")
def test_tiny_files_that_come_in_one_chunk_are_not_all_open_at_once() -> None:
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d"\r\n\r\n\r\n'
    body = b"".join(part % number for number in range(1500)) + b"--b--\r\n"
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body}

    async def take_all() -> tuple[list[str], int]:
        names, most = [], 0
        async for received in received_files(Request(scope, receive), BodyBounds(1000)):
            most = max(most, open_files())
            names.append(received.filename)
            received.discard()
        return names, most

    before = open_files()
    names, most = anyio.run(take_all)
    assert names == [str(number) for number in range(1500)]
    assert most - before <= 64
