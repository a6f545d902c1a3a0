"""The demo's whole run against a small stand-in of the API: what is written, what is told, and the exit code."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from PIL import Image
from rich.console import Console

from app.client import Client
from app.demo import run
from app.demo.errors import DemoError
from app.demo.folder import require_replaceable
from app.demo.run import run_demo

CLASSES = [{"id": 0, "name": "background", "color": [0, 0, 0]}, {"id": 8, "name": "cat", "color": [64, 0, 0]}]


def uuid(number: int) -> str:
    """An id of a photo, say: the client takes nothing else for one."""
    return str(UUID(int=number))


USER, ADAPTATION, SEGMENTATION = (uuid(1000 + number) for number in range(3))


class StandIn:
    """Answers like the API, at once; the personal model finds a cat in the left half, the base nothing."""

    def __init__(self, *, adaptation: dict[str, Any], failing_segmentation: bool = False, refusal_code: str = "") -> None:
        self.photos: dict[str, str] = {}
        self.segmented: list[str] = []
        self._adaptation = adaptation
        self._failing_segmentation = failing_segmentation
        self._refusal_code = refusal_code

    def __call__(self, request: httpx.Request) -> httpx.Response:
        route = (request.method, request.url.path.split("/")[-1])
        if "mask" in route:
            return self._mask(request)
        if route == ("POST", "images"):
            return httpx.Response(200, json={"results": list(self._stored(request.read()))})
        if route == ("POST", "segmentations"):
            self.segmented.append(json.loads(request.content)["model"])
            return httpx.Response(202, json={"id": SEGMENTATION, "status": "queued"})
        if route == ("POST", "adaptations") and self._refusal_code:
            return httpx.Response(409, json={"code": self._refusal_code, "title": "No", "detail": "Upload more photos."})
        return httpx.Response(200, json=self._document(route))

    def _document(self, route: tuple[str, str]) -> dict[str, Any]:
        return {
            ("GET", "bases"): {"items": [{"name": "tiny", "title": "Tiny", "is_default": True, "classes": CLASSES}]},
            ("POST", "users"): {"id": USER, "token": "t"},
            ("GET", "images"): {"items": [], "next_cursor": None},
            ("POST", "adaptations"): {"id": ADAPTATION, "status": "queued"},
            ("GET", ADAPTATION): {"id": ADAPTATION, **self._adaptation},
            ("GET", SEGMENTATION): {"id": SEGMENTATION, "status": "failed" if self._failing_segmentation else "succeeded"},
        }[route]

    def _stored(self, body: bytes) -> Iterator[dict[str, Any]]:
        for part in body.split(b'filename="')[1:]:
            name, content = part.split(b'"', 1)[0].decode(), part.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0]
            if content == b"text":
                yield {"filename": name, "status": "rejected", "code": "not_an_image", "reason": "It is text."}
            else:
                known = self.photos.get(repr(content))
                image_id = self.photos.setdefault(repr(content), uuid(len(self.photos)))
                yield {"filename": name, "status": "duplicate" if known else "stored", "image_id": image_id}

    def _mask(self, request: httpx.Request) -> httpx.Response:
        if self._failing_segmentation:
            return httpx.Response(404, json={"code": "mask_not_ready", "title": "No mask", "detail": "Segment it first."})
        mask = Image.new("P", (8, 6))
        if request.url.params["model"] == "personal":
            mask.paste(8, (0, 0, 4, 6))
        mask.putpalette([0, 0, 0] * 8 + [64, 0, 0])
        buffer = io.BytesIO()
        mask.save(buffer, "PNG")
        return httpx.Response(200, content=buffer.getvalue())


ACCEPTED: dict[str, Any] = {
    "status": "succeeded",
    "model_version": 1,
    "report": {
        "verdict": {"accepted": True, "code": "ok", "sentence": "It is better.", "figures": {"agreement": 0.9}},
        "groups": [{"index": 0, "photos": [uuid(0), uuid(1)], "size": 2}],
        "stages": [{"name": "self_training", "seconds": 2.5}],
    },
}
REFUSED: dict[str, Any] = {
    "status": "refused",
    "report": {"verdict": {"accepted": False, "code": "collapse", "sentence": "The class cat vanished."}},
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of one stem, the copy of one in a sub-folder, and a text that pretends."""
    folder = tmp_path / "photos"
    (folder / "trip").mkdir(parents=True)
    Image.new("RGB", (8, 6), (200, 10, 10)).save(folder / "a.jpg")
    Image.new("RGBA", (8, 6), (10, 200, 10, 90)).save(folder / "a.png")
    (folder / "trip" / "copy.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "text.jpg").write_text("text")
    return folder


def perform(monkeypatch: pytest.MonkeyPatch, server: StandIn, photos: Path | None, out: Path) -> tuple[int, str]:
    def stand_in_client(base_url: str, token: str, **options: Any) -> Client:
        return Client(base_url, token, transport=httpx.MockTransport(server), sleep=lambda seconds: None, **options)

    monkeypatch.setattr(run, "Client", stand_in_client)
    console = Console(file=io.StringIO(), width=100)
    code = run_demo(photos, out, base_url="http://test", service_token="t", console=console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


EXPECTED_FILES = {
    *(f"{folder}/{name}" for folder in ("masks/base", "masks/personal", "overlays") for name in
      ("a.jpg.png", "a.png.png", "trip/copy.png")),
    "report.html",
    "report.json",
}  # fmt: skip


def test_an_accepted_model_is_shown_beside_the_base(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    out, server = tmp_path / "out", StandIn(adaptation=ACCEPTED)
    code, shown = perform(monkeypatch, server, photos, out)
    assert code == 0
    assert files_of(out) == EXPECTED_FILES
    assert server.segmented == ["base", "personal"]
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"]["figures"] == {"agreement": 0.9}
    assert report["changed_share"] == 0.5
    assert set(report["sha256"]) == EXPECTED_FILES - {"report.json"}
    require_replaceable(out)
    (out / "masks/personal/trip/copy.png").write_bytes(b"corrected by hand")
    with pytest.raises(DemoError, match=r"holds masks/personal/trip/copy\.png"):
        require_replaceable(out)
    assert {photo["path"]: photo["group"] for photo in report["photos"]} == {
        "a.jpg": 0,
        "a.png": 0,
        "trip/copy.jpg": 0,
    }
    assert [entry["path"] for entry in report["rejected"]] == ["text.jpg"]
    assert [step["name"] for step in report["steps"]][:2] == ["upload", "adaptation"]
    for expected in ("It is better.", "50.0\xa0%", "cat", "Self training", "text.jpg: It is text."):
        assert expected in shown
    assert "It is better." in (out / "report.html").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has file names that are no text")
def test_a_name_that_is_no_text_costs_no_result(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    for name, content in ((b"caf\xe9.jpg", (photos / "a.jpg").read_bytes() + b" "), (b"th\xe9.jpg", b"text")):
        (photos / os.fsdecode(name)).write_bytes(content)
    code, shown = perform(monkeypatch, StandIn(adaptation=ACCEPTED), photos, tmp_path / "out")
    assert code == 0
    assert {"masks/base/caf\ufffd.png", "overlays/caf\ufffd.png"} <= files_of(tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text("utf-8"))
    assert "caf\ufffd.jpg" in {photo["path"] for photo in report["photos"]}
    assert {entry["path"] for entry in report["rejected"]} == {"text.jpg", "th\ufffd.jpg"}
    assert "caf?.jpg" in (tmp_path / "out/report.html").read_text("utf-8")
    assert "th\ufffd.jpg" in shown
    require_replaceable(tmp_path / "out")


def test_a_kept_base_is_a_success_with_equal_masks(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    out, server = tmp_path / "out", StandIn(adaptation=REFUSED)
    code, shown = perform(monkeypatch, server, photos, out)
    assert code == 0
    assert server.segmented == ["base"]
    assert files_of(out) == EXPECTED_FILES
    assert (out / "masks/base/a.jpg.png").read_bytes() == (out / "masks/personal/a.jpg.png").read_bytes()
    assert "The class cat vanished." in shown


@pytest.mark.parametrize(
    ("server", "sentence"),
    [
        (
            StandIn(adaptation={"status": "failed", "error_code": "died", "error_reason": "The worker died."}),
            "worker died",
        ),
        (StandIn(adaptation=ACCEPTED, refusal_code="gallery_too_small"), "Upload more photos"),
    ],
)
def test_a_failed_adaptation_still_gives_base_masks_but_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path, server: StandIn, sentence: str
) -> None:
    code, shown = perform(monkeypatch, server, photos, tmp_path / "out")
    assert code == 1
    assert sentence in shown
    assert files_of(tmp_path / "out") == EXPECTED_FILES


def test_failed_masks_are_listed(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    code, shown = perform(monkeypatch, StandIn(adaptation=ACCEPTED, failing_segmentation=True), photos, tmp_path / "out")
    assert code == 1
    assert "Segment it first." in shown
    assert json.loads((tmp_path / "out/report.json").read_text())["photos"] == []


def test_only_rejected_files_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_text("text")
    code, shown = perform(monkeypatch, StandIn(adaptation=ACCEPTED), tmp_path / "photos", tmp_path / "out")
    assert code == 1
    assert "took none of the photos" in shown


def test_an_unreachable_service_leaves_the_earlier_result(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    perform(monkeypatch, StandIn(adaptation=ACCEPTED), photos, out)
    before = (out / "report.json").read_text()

    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    code, shown = perform(monkeypatch, broken, photos, out)  # type: ignore[arg-type]
    assert code == 1
    assert "cannot be reached" in shown
    assert (out / "report.json").read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {"out", "photos"}


def test_without_photos_the_sample_album_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    code, shown = perform(monkeypatch, StandIn(adaptation=REFUSED), None, tmp_path / "out")
    assert code == 0
    assert "the sample album" in shown
    assert (tmp_path / "out/masks/base/garage/motorbike.png").is_file()


def test_foreign_files_in_out_stop_it_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path) -> None:
    server = StandIn(adaptation=ACCEPTED)
    with pytest.raises(DemoError, match=r"a\.jpg, which is not from an earlier run"):
        perform(monkeypatch, server, photos, photos)
    assert server.photos == {}
