"""The page's pure functions, in the browser that runs them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import Page

from app.local import Deployment


@pytest.fixture
def module(page: Page, deployment: Deployment) -> Any:
    """Run an expression in which `m` is a module of the page."""
    page.goto(deployment.base_url)
    return lambda name, expression: page.evaluate(f"async () => {{ const m = await import('/page/{name}.js'); return {expression}; }}")


def test_events_come_in_any_pieces(module: Any) -> None:
    text = ': still here\n\nid: 7\nevent: job\ndata: {"a": 1}\n\nid: 8\r\ndata: x\r\n\r\nid: 9\ndata: cut'
    whole = [{"id": "7", "data": '{"a": 1}'}, {"id": "8", "data": "x"}]
    for size in (1, 5, 1000):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert (
            module("events", f"(() => {{ const p = new m.EventParser(); return {pieces!r}.flatMap((piece) => p.push(piece)); }})()")
            == whole
        )


def test_batches_are_few_files_and_few_bytes(module: Any) -> None:
    sizes = [1, 1, 1, 10, 10, 25, 1]
    made = module("upload", f"m.batches({sizes}.map((size) => ({{ file: {{ size }} }})), 3, 20).map((b) => b.map((i) => i.file.size))")
    assert made == [[1, 1, 1], [10, 10], [25], [1]]
    items = "[0, 1, 0, 0].map((zip, at) => ({ at, file: { size: 1 }, isArchive: Boolean(zip) }))"
    assert module("upload", f"m.batches({items}).map((batch) => batch.map((item) => item.at))") == [[0], [1], [2, 3]]


def test_groups_are_ordered_and_new_photos_come_first(module: Any) -> None:
    images = [{"id": str(number), "group_index": group} for number, group in enumerate([1, 0, 0, None, 1, 0])]
    groups = f"m.grouped({json.dumps(images)}).map((group) => [group.title, group.photos.map((photo) => photo.id)])"
    shown = module("gallery", groups)
    assert shown == [["New", ["3"]], ["Group 1", ["1", "2", "5"]], ["Group 2", ["0", "4"]]]
    assert module("gallery", "m.grouped([{ id: 'a', group_index: null }])[0].title") == ""


def test_colours_become_classes(module: Any) -> None:
    classes = "[{ id: 0, color: [0, 0, 0] }, { id: 15, color: [192, 128, 128] }]"
    pixels = "[192, 128, 128, 255, 0, 0, 0, 255, 1, 2, 3, 255]"
    assert module("masks", f"[...m.labelsOf({pixels}, m.idsByColor({classes}))]") == [15, 0, 255]


def test_overlays(module: Any) -> None:
    labels = "new Uint8Array([0, 15, 15, 15, 15, 15, 0, 7, 7])"
    colors = "Object.assign([], { 15: [1, 2, 3], 7: [4, 5, 6] })"
    alphas = f"[...m.paintLabels({labels}, 9, {colors}, ONLY)].filter((_, i) => i % 4 === 3)"
    assert module("paint", alphas.replace("ONLY", "null")) == [0, 235, 165, 165, 165, 235, 0, 235, 165]
    assert module("paint", alphas.replace("ONLY", "7")) == [0, 0, 0, 0, 0, 0, 0, 235, 165]
    assert module("paint", "[...m.paintConfidence([255, 0])].filter((_, i) => i % 4 === 3)") == [0, 235]
    changes = f"[...m.paintChanges([0, 15, 7], [0, 15, 0], {colors})].filter((_, i) => i % 4 === 3)"
    assert module("paint", changes) == [0, 0, 210]
    assert module("paint", "m.differing([1, 2, 3, 4], [1, 2, 3, 5])") == 0.25


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("m.percent(0)", "0 %"),
        ("m.percent(0.0004)", "< 0.1 %"),
        ("m.percent(0.0123)", "1.2 %"),
        ("m.percent(0.999)", "100 %"),
        ("m.percent(null)", "–"),
        ("m.duration(0.2)", "1 s"),
        ("m.duration(200)", "3 min"),
        ("m.duration(3900)", "1 h 5 min"),
        ("m.bytes(999)", "999 bytes"),
        ("m.bytes(1_400_000)", "1.4 MB"),
        ("m.plural(1, 'photo')", "1 photo"),
        ("m.stageName('a_new_stage')", "A new stage"),
        ("m.sentence('The pottedplant grew.')", "The potted plant grew."),
    ],
)
def test_words(module: Any, expression: str, text: str) -> None:
    assert module("format", expression) == text
