"""The report page's section on what changed and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from PIL import Image

from app.demo import pictures
from app.demo.changes import MOST_PICTURED_CHANGES, pictured_changes
from app.demo.result import DemoResult, Verdict
from app.demo.told import class_changes, photo_changes
from app.demo.words import figure_texts
from tests.demo.test_report import PIXEL, photo, render, result

FIGURES = {
    "confident_agreement": 0.973,
    "consistency_before": 0.95,
    "consistency_after": 0.961,
    "entropy_before": 0.5,
    "entropy_after": 0.25,
}


def class_entry(
    index: int = 15, name: str = "person", before: float = 0.12, after: float = 0.18, reason: str = "Grew a lot."
) -> dict[str, Any]:
    return {"id": index, "name": name, "area_before": before, "area_after": after, "sure_kept": None, "reason": reason}


def photo_entry(image_id: str, changed: float = 0.1, reason: str = "The person grew.") -> dict[str, Any]:
    figures = {"confidence_before": 0.81, "confidence_after": 0.85, "mirror_before": 0.94, "mirror_after": 0.96}
    return {"id": image_id, "changed": changed, "sure_changed": 0.01, **figures, "classes": [], "reason": reason}


def told(*photos: str, accepted: bool = True, **report: Any) -> DemoResult:
    """A result on photos named by their ids."""
    shown = [replace(photo(f"{name}.jpg"), image_id=name) for name in photos]
    return result(*shown, verdict=Verdict(accepted, "a_code", "The guard says this.", FIGURES), adaptation=report)


def test_the_section_says_what_changed_and_why() -> None:
    outcome = told("a", "b", classes=[class_entry()], photos_compared=[photo_entry("a", 0.1), photo_entry("b", 0.3, "The cat is gone.")])
    text, page = render(outcome)
    assert "What changed, and why" in page.text
    assert page.text.count("The guard says this.") == 2, "at the head of the page and of the section"
    for expected in (
        "12.0\xa0% → 18.0\xa0%",
        "Grew a lot.",
        "Same class on the mirrored photo",
        "95.0\xa0% → 96.1\xa0%",
        "on 2 of the photos",
    ):
        assert expected in page.text
    assert text.index("The cat is gone.") < text.index("The person grew."), "the most changed photo comes first"
    assert page.resources.count(PIXEL) == 2 * 3 + 2 * 3 + 2, "base, personal, difference; photo, base, personal; one in the strip"
    assert "b.jpg, where the two differ" in text
    assert page.text.count("The cat is gone.") == 2, "also beside the photo in its group"
    assert {"table", "caption", "th"} <= set(page.tags)
    assert "scope" in page.attributes


def test_where_only_the_appearance_is_kept_the_figures_are_said_to_be_of_the_refused_training() -> None:
    outcome = told("a", classes=[class_entry()], photos_compared=[photo_entry("a")])
    assert outcome.verdict is not None
    _, page = render(outcome)
    assert "Personal model in use" in page.text and "not kept" not in page.text
    _, page = render(replace(outcome, verdict=replace(outcome.verdict, code="appearance_only")))
    assert "Base model, photos shown otherwise" in page.text and "Personal model in use" not in page.text
    assert "of the training that is not kept (before → after)" in page.text


def test_a_refused_model_is_told_without_pictures() -> None:
    _, page = render(told("a", accepted=False, classes=[class_entry()], photos_compared=[photo_entry("a")]))
    assert "What would have changed, and why it was not taken" in page.text
    assert "The person grew." in page.text
    assert page.resources.count(PIXEL) == 3 + 1, "only the photo in its group"


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"verdict": {"accepted": True}, "groups": []},
        {"classes": None, "photos_compared": "of another time"},
        {"classes": ["x", {}], "photos_compared": [{}, {"id": "a", "changed": "much", "reason": None}]},
    ],
)
def test_reports_of_other_versions_still_make_a_page(report: dict[str, Any]) -> None:
    _, page = render(told("a", **report))
    assert "a.jpg" in page.text
    _, page = render(result(photo(), verdict=Verdict(True, "ok", "Fine.", {}), adaptation=report))
    assert "a.jpg" in page.text


def test_without_figures_and_changes_there_is_no_section() -> None:
    _, page = render(result(photo(), verdict=Verdict(True, "ok", "Fine.", {})))
    assert "and why" not in page.text


def test_the_names_of_others_are_escaped() -> None:
    evil = "<script>alert('x')</script>\"' onerror='1'&"
    entries = {
        "classes": [class_entry(name=evil, reason=evil)],
        "photos_compared": [photo_entry("a", reason=evil), photo_entry(evil, 0.5, evil)],
    }
    for accepted in (True, False):
        outcome = replace(told("a", accepted=accepted, **entries), photos=[replace(photo(f"{evil}.jpg"), image_id="a")])
        for undecodable in (True, False):
            _, page = render(outcome, undecodable=undecodable)
            assert "script" not in page.tags
            assert "onerror" not in page.attributes
            assert page.text.count("alert('x')") >= 6


def test_only_the_largest_changes_are_pictured() -> None:
    names = [f"p{index:02}" for index in range(MOST_PICTURED_CHANGES + 5)]
    outcome = told(*names, photos_compared=[photo_entry(name, index / 100) for index, name in enumerate(names)])
    assert [entry.image_id for entry, _ in pictured_changes(outcome)] == names[: -MOST_PICTURED_CHANGES - 1 : -1]
    _, page = render(outcome)
    assert "5 more, without pictures" in page.text


def test_what_is_told_is_read_in_order() -> None:
    report = {"classes": [class_entry(1, "a"), class_entry(2, "b")], "photos_compared": [photo_entry("x", 0.1), photo_entry("y", 0.2)]}
    assert [(entry.id, entry.before, entry.after) for entry in class_changes(report)] == [(1, 0.12, 0.18), (2, 0.12, 0.18)]
    first, second = photo_changes(report)
    assert (first.image_id, second.image_id, first.confidence, first.mirror) == ("y", "x", (0.81, 0.85), (0.94, 0.96))


def test_figures_in_plain_words() -> None:
    assert list(figure_texts({**FIGURES, "of_tomorrow": 0.12345})) == [
        ("Kept, of the pixels that the base is sure of", "97.3\xa0%"),
        ("Same class on the mirrored photo", "95.0\xa0% → 96.1\xa0%"),
        ("Doubt about a pixel (entropy, in nats)", "0.5 → 0.25"),
        ("Of tomorrow", "0.123"),
    ]


def test_the_difference_is_filled_in_where_the_masks_differ() -> None:
    before, after = Image.new("L", (4, 2)), Image.new("L", (4, 2))
    after.paste(7, (0, 0, 2, 2))
    shown = pictures.difference(Image.new("RGB", (8, 4), (0, 0, 255)), before, after)
    assert shown.size == (8, 4)
    assert shown.getpixel((1, 1)) == pictures.DIFFERENCE_COLOUR
    red, green, blue = shown.getpixel((6, 1))
    assert red == green == blue, "elsewhere the photo in grey"
