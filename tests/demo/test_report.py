"""report.html: parses, escapes, needs nothing from elsewhere, stays openable with many photos."""

from __future__ import annotations

import io
import json
from html.parser import HTMLParser

import pytest

from app.demo.parts import Pictures
from app.demo.report import MOST_PICTURED, thumbnail_pixels, write_report
from app.demo.result import ClassInfo, ClassShare, DemoResult, Photo, Rejected, Stage, Verdict
from app.demo.words import duration, number, percent, plain

VOID = {"meta", "img", "br", "hr", "link", "input"}
PIXEL = "data:image/jpeg;base64,AAAA"
ACCEPTED = Verdict(
    True,
    "accepted",
    "The personal model agrees with itself more often.",
    {"self_agreement": 0.93127, "entropy_before": 0.5, "entropy_after": 0.25},
)


class Checker(HTMLParser):
    """Fails on unbalanced tags; collects texts and the addresses of resources and links."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.resources: list[str] = []
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        values = dict(attrs)
        self.resources += [value for name in ("src", "srcset", "data", "poster") if (value := values.get(name))]
        if href := values.get("href"):
            self.links.append(href)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def photo(path: str = "trip/a.jpg", *, changed: float = 0.25, group: int | None = 0) -> Photo:
    shares = (ClassShare(0, "background", 0.7), ClassShare(15, "person", 0.3))
    return Photo(
        path,
        "id",
        640,
        480,
        group,
        f"masks/personal/{path}.png",
        f"masks/base/{path}.png",
        "o",
        changed,
        shares,
        shares,
    )


def result(*photos: Photo, verdict: Verdict | None = ACCEPTED, **more: object) -> DemoResult:
    fields: dict[str, object] = {
        "made_at": "2026-11-22T11:55:00+00:00",
        "version": "0.1.0",
        "source": "my photos",
        "base": "ESPNetv2",
        "verdict": verdict,
        "photos": photos,
        "rejected": [],
        "classes": [ClassInfo(0, "background", (0, 0, 0)), ClassInfo(15, "person", (192, 128, 128))],
        "steps": [Stage("upload", 1.0), Stage("adaptation", 3.0)],
        "stages": [Stage("self_training", 2.0)],
    }
    return DemoResult(**(fields | more))  # type: ignore[arg-type]


def render(outcome: DemoResult, *, undecodable: bool = False) -> tuple[str, Checker]:
    file = io.StringIO()
    pictures = None if undecodable else Pictures(PIXEL, PIXEL, PIXEL, PIXEL, 48, 36)
    write_report(file, outcome, lambda *_: pictures, lambda *_: None if undecodable else PIXEL)
    checker = Checker()
    checker.feed(file.getvalue())
    checker.close()
    assert checker.open == []
    return file.getvalue(), checker


def test_the_report_says_what_happened() -> None:
    _, page = render(result(photo(), photo("b.jpg", changed=0, group=1)))
    for expected in (
        ACCEPTED.sentence,
        "0.931",
        "0.5 → 0.25",
        "Personal model in use",
        "trip/a.jpg",
        "Group 2",
        "Self training",
        "person",
    ):
        assert expected in page.text
    assert page.resources.count(PIXEL) == 2 * 3 + 2, "three pictures a photo, one in its group's strip"


def test_a_kept_base_is_explained() -> None:
    refused = Verdict(False, "collapse", "The class cat would have vanished.", {})
    _, page = render(result(photo(changed=0), verdict=refused))
    assert refused.sentence in page.text
    assert "therefore the same" in page.text


@pytest.mark.parametrize("outcome", [result(verdict=None, problems=["It broke <here>."]), result(), result(photo(group=None))])
def test_incomplete_outcomes_still_make_a_report(outcome: DemoResult) -> None:
    render(outcome)


def test_a_photo_that_this_computer_cannot_show_keeps_its_masks() -> None:
    _, page = render(result(photo("a.heic")), undecodable=True)
    assert "cannot show the photo" in page.text
    assert "./masks/base/a.heic.png" in page.links


def test_nothing_comes_from_elsewhere() -> None:
    text, page = render(result(photo(), rejected=[Rejected("x.jpg", "not_an_image", "See https://example.org")]))
    assert all(source.startswith("data:image/") for source in page.resources)
    assert all(link.startswith("./masks/") for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text


def test_everything_foreign_is_escaped() -> None:
    evil = "<script>alert('x')</script>\"' onerror='1'&"
    verdict = Verdict(False, evil, evil, {evil: 1.0})
    _, page = render(
        result(
            photo(f"{evil}.jpg"),
            verdict=verdict,
            source=evil,
            base=evil,
            version=evil,
            problems=[evil],
            rejected=[Rejected(evil, evil, evil)],
            stages=[Stage(evil, 1.0)],
            classes=[ClassInfo(0, evil, (0, 0, 0)), ClassInfo(15, evil, (1, 2, 3))],
        )
    )
    assert "script" not in page.tags
    assert "onerror" not in page.attributes
    assert page.text.count("alert('x')") >= 10


def test_hundreds_of_photos_stay_bounded() -> None:
    photos = [photo(f"{index:04}.jpg", changed=index / 2000, group=index % 7) for index in range(MOST_PICTURED + 30)]
    text, page = render(result(*photos))
    assert page.tags.count("article") == MOST_PICTURED
    assert "0000.jpg" in page.text, "also a photo without pictures is listed"
    assert page.tags.count("details") > 7
    assert len(text) < 6000 * len(photos)
    assert [thumbnail_pixels(count) for count in (1, 80, 81, 250, 251, 9999)] == [480, 480, 360, 360, 256, 256]


def test_the_json_document_is_plain_data() -> None:
    document = json.loads(json.dumps(result(photo(), photo("b.jpg", changed=0.75)).as_json()))
    assert document["made_by"] == "personalseg demo"
    assert document["changed_share"] == pytest.approx(0.5)
    assert document["seconds"] == 4.0
    assert document["photos"][0]["personal_classes"][1] == {"id": 15, "name": "person", "share": 0.3}


def test_words_and_numbers() -> None:
    assert [percent(share) for share in (0, 0.0004, 0.123, 0.99, 1)] == [
        "0\xa0%",
        "under 0.1\xa0%",
        "12.3\xa0%",
        "99.0\xa0%",
        "100\xa0%",
    ]
    assert [duration(seconds) for seconds in (0.04, 59.94, 61, 3601)] == [
        "0.0 s",
        "59.9 s",
        "1 min 01 s",
        "60 min 01 s",
    ]
    assert [number(value) for value in (True, 7, 0.12345, "text")] == ["yes", "7", "0.123", "text"]
    assert plain("pseudo_labels") == "Pseudo labels"
