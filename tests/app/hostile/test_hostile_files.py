"""The corpus: each hostile file gets its code, nothing of it is stored, and the API goes on as if nothing had been."""

from __future__ import annotations

import io
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from app.settings import Settings
from app.storage import open_storage
from tests.app.conftest import Caller
from tests.app.hostile.corpus import harmless_files, hostile_files
from tests.app.hostile.server import RunningApi, running_api
from tests.app.photos import jpeg

MEMORY_BYTES = 300 * 1024**2


@pytest.fixture
def hostile_settings(settings: Settings) -> Settings:
    """Files here are up to some hundred kilobytes; the pixels are bounded to ten millions."""
    return settings.model_copy(update={"decoding_seconds": 30.0, "decoding_memory_bytes": 512 * 1024**2})


@pytest.fixture
def running(hostile_settings: Settings, tmp_path: Path) -> Iterator[RunningApi]:
    with running_api(hostile_settings, tmp_path / "api.log") as api:
        yield api


def test_the_corpus_is_large() -> None:
    names = [name for name, _, _ in hostile_files()]
    assert len(names) == len(set(names)) >= 400


def test_each_gets_its_code_nothing_is_stored_and_the_api_answers_throughout(
    running: RunningApi, hostile_settings: Settings, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    corpus = hostile_files()
    with running.client() as client, running.watched() as watch:
        user_id = client.post("/v1/users").json()["id"]
        images = f"/v1/users/{user_id}/images"
        results = []
        for start in range(0, len(corpus), 25):
            files = [("files", (f"{name}.jpg", data)) for name, data, _ in corpus[start : start + 25]]
            results += client.post(images, files=files).json()["results"]
        told = {name: result["code"] for (name, _, _), result in zip(corpus, results, strict=True)}
        assert told == {name: code for name, _, code in corpus}
        assert client.get(images).json()["items"] == []
        assert client.post(images, files=[("files", ("good.jpg", jpeg()))]).json()["stored"] == 1
    assert [key.split("/")[2] for key in open_storage(hostile_settings).keys("users")] == ["photos"]
    if hostile_settings.storage_url.startswith("file:"):
        (photo,) = (path for path in (Path(hostile_settings.data_dir) / "blobs").rglob("*") if path.is_file())
        assert photo.parent.name == "photos"
    _print(capsys, watch.health_seconds, watch.peak_bytes, Counter(told.values()))
    assert watch.failures == []
    assert watch.peak_bytes < MEMORY_BYTES
    assert "Traceback" not in (tmp_path / "api.log").read_text()


def _print(capsys: pytest.CaptureFixture[str], health: list[float], peak: int, codes: Counter[str | None]) -> None:
    worst = sorted(health)[int(0.99 * (len(health) - 1))]
    with capsys.disabled():
        print(f"\n{sum(codes.values())} hostile files: {dict(codes.most_common())}")
        print(
            f"/healthz asked {len(health)} times: median {1000 * statistics.median(health):.0f} ms, 99 % within {1000 * worst:.0f} ms, "
            f"longest {1000 * max(health):.0f} ms; the API's process at most {peak / 1024**2:.0f} MiB"
        )


@pytest.mark.parametrize(("name", "data"), harmless_files(), ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_odd_but_whole_is_taken_and_shown_without_its_oddity(alice: Caller, name: str, data: bytes) -> None:
    (result,) = alice.upload([(name, data)])
    assert result["status"] == "stored", result
    image = alice("GET", f"images/{result['image_id']}").json()
    thumbnail = alice("GET", f"images/{result['image_id']}/thumbnail", params={"size": 64})
    with Image.open(io.BytesIO(thumbnail.content)) as small:
        small.load()
        assert max(small.size) <= 64 and not small.getexif()
        assert (small.width >= small.height) == (image["width"] >= image["height"])
    content = alice("GET", f"images/{result['image_id']}/content")
    assert content.headers["content-type"] == image["media_type"]
