"""Sentences of the report, and how much of it there is."""

import json

import pytest
import torch

from models.comparison import Comparison, Views
from models.explain import MOST_BYTES, MOST_PHOTOS, Shift, changes, class_reason, percent, photo_reason, shift_of

NAMES = ("background", "cat", "dog", "bus")


def view(labels: list[int], confidence: float = 0.9, classes: int = 4) -> Views:
    index = torch.tensor(labels)
    probabilities = torch.full((classes, len(labels)), (1 - confidence) / (classes - 1))
    probabilities[index, torch.arange(len(labels))] = confidence
    return Views(probabilities[None, :, None], index[None, None])


def compared(before: Views, after: Views) -> Comparison:
    comparison = Comparison(4, 0.9)
    comparison.add(before, after, photo_id="photo")
    return comparison


def test_what_became_of_a_class_by_hand() -> None:
    # of 4 cats 3 become dog and 1 background; the dog had 2 pixels and gains 1 from the background as well
    comparison = compared(view([1, 1, 1, 1, 2, 2, 0, 0, 0, 0], 0.5), view([2, 2, 2, 0, 2, 2, 2, 0, 0, 0]))
    cat = shift_of(comparison.total, 1, NAMES)
    assert (cat.before, cat.after, cat.lost, cat.lost_to, cat.renamed) == (0.4, 0, 0.4, "dog", True)
    assert cat.lost_confidence == pytest.approx(0.5)
    dog = shift_of(comparison.total, 2, NAMES)
    assert (dog.before, dog.after, dog.lost, dog.lost_to, dog.gained, dog.gained_from) == (0.2, 0.6, 0, None, 0.4, "cat")
    assert (dog.renamed, dog.lost_confidence) == (False, 0)
    assert dog.gained_confidence == pytest.approx(0.5)


def test_no_class_took_half_of_what_was_lost() -> None:
    comparison = compared(view([1] * 6), view([0, 0, 2, 2, 3, 3]))
    assert shift_of(comparison.total, 1, NAMES).lost_to is None


def test_most_of_a_class_is_more_than_half_of_it() -> None:
    # of 8 cats 4 stay, 3 become dog, 1 background: more than half of the loss is dog, but no half of the cat
    cat = shift_of(compared(view([1] * 8), view([1, 1, 1, 1, 2, 2, 2, 0])).total, 1, NAMES)
    assert (cat.lost_to, cat.renamed) == ("dog", False)
    gone = shift_of(compared(view([1] * 8), view([2, 2, 2, 2, 2, 0, 0, 1])).total, 1, NAMES)
    assert (gone.lost_to, gone.renamed) == ("dog", True)


def test_a_loss_to_the_background_is_no_new_name() -> None:
    cat = shift_of(compared(view([1, 1, 1, 0]), view([0, 0, 0, 0])).total, 1, NAMES)
    assert (cat.lost_to, cat.renamed) == ("background", False)


PHOTOS = {
    "The dog grew from 12 to 18 % of the photo, where the base was only 52 % sure; "
    "the bus (3 %) is gone: the base was only 41 % sure of it.": [
        Shift("bus", 0.03, 0.0, lost=0.03, lost_to="background", lost_confidence=0.41),
        Shift("dog", 0.12, 0.18, gained=0.06, gained_from="background", gained_confidence=0.52),
    ],
    "The bus (3 %) is gone, although the base was 91 % sure of it.": [Shift("bus", 0.03, 0.001, lost=0.029, lost_confidence=0.91)],
    "The cat (12 %) is now called dog: the base was 70 % sure of it.": [
        Shift("cat", 0.12, 0.0, lost=0.12, lost_to="dog", lost_confidence=0.7, renamed=True),
        Shift("dog", 0.0, 0.12, gained=0.12, gained_from="cat", gained_confidence=0.7),
    ],
    "Most of the cat (12 %) is now called dog: the base was 70 % sure of it.": [
        Shift("cat", 0.12, 0.02, lost=0.1, lost_to="dog", lost_confidence=0.7, renamed=True)
    ],
    "Dog is new (4.5 %), where the base was only 30 % sure.": [Shift("dog", 0.0, 0.045, gained=0.045, gained_confidence=0.3)],
    "The person shrank from 30 to 12 % of the photo, where the base was 65 % sure.": [
        Shift("person", 0.3, 0.12, lost=0.18, lost_confidence=0.65)
    ],
    "Outlines moved: 2.1 % of the pixels changed class, but nothing grew or shrank much.": [Shift("dog", 0.5, 0.504)],
}


MOVED = {
    # the dog becomes cat, and as much dog appears where nothing was
    ("2" * 10 + "0" * 90, "1" * 10 + "2" * 10 + "0" * 80): "Most of the dog (10 %) is now called cat: the base was 70 % sure of it, "
    "and dog is seen elsewhere (10 %).",
    # dog and cat change places
    (
        "2" * 5 + "1" * 10 + "0" * 85,
        "1" * 5 + "2" * 10 + "0" * 85,
    ): "Most of the cat (10 %) is now called dog: the base was 70 % sure "
    "of it, and cat is seen elsewhere (5 %); most of the dog (5 %) is now called cat: the base was 70 % sure of it, "
    "and dog is seen elsewhere (10 %).",
    # most of the dog becomes cat while the dog grows out of the background
    ("2" * 10 + "0" * 90, "1" * 6 + "2" * 34 + "0" * 60): "Most of the dog (10 %) is now called cat: the base was 70 % sure of it, "
    "and dog is seen elsewhere (34 %).",
    ("2" * 10 + "0" * 90, "1" * 6 + "2" * 4 + "0" * 90): "Most of the dog (10 %) is now called cat: the base was 70 % sure of it.",
}


@pytest.mark.parametrize(("before", "after"), MOVED)
def test_a_class_that_is_called_otherwise_and_seen_elsewhere(before: str, after: str) -> None:
    comparison = compared(view([int(label) for label in before], 0.7), view([int(label) for label in after]))
    (photo,) = changes(comparison, NAMES)["photos_compared"]
    assert photo["reason"] == MOVED[before, after]


@pytest.mark.parametrize("sentence", PHOTOS)
def test_a_photo_in_a_sentence(sentence: str) -> None:
    assert photo_reason(PHOTOS[sentence], 0.021) == sentence


def test_little_and_nothing_are_said_so() -> None:
    assert photo_reason([Shift("dog", 0.41, 0.4, lost=0.01)], 0.017).startswith("Outlines moved: 1.7 %")
    assert photo_reason([], 0.0) == "Nothing changed."
    assert photo_reason([Shift("dog", 0.5, 0.504)], 0.004) == "Almost nothing changed: 0.4 % of the pixels."


def test_a_photo_where_much_changed_stays_one_sentence() -> None:
    shifts = [Shift(f"thing {index}", 0.1, 0.2 + index / 100, gained_confidence=0.7) for index in range(6)]
    reason = photo_reason(shifts, 0.5)
    assert reason.startswith("The thing 5 grew from 10 to 25 %")
    assert reason.endswith("; 3 more changed less.")


@pytest.mark.parametrize(
    ("shift", "kept", "sentence"),
    [
        (Shift("a", 0.12, 0.121), 0.97, "About as much as before (12 % of all pixels); 97 % of what the base was sure of is kept."),
        (Shift("a", 0.12, 0.121), None, "About as much as before (12 % of all pixels)."),
        (Shift("a", 0.002, 0.0012, lost_confidence=0.7), None, "Shrank from 0.2 to 0.1 % of all pixels, where the base was 70 % sure."),
        (Shift("a", 0.0004, 0.0), None, "Too little to tell: under 0.1 % of all pixels."),
        (
            Shift("a", 0.12, 0.18, gained=0.06, gained_from="background", gained_confidence=0.58),
            0.97,
            "Grew from 12 to 18 % of all pixels, mostly out of background, where the base was only 58 % sure; "
            "97 % of what the base was sure of is kept.",
        ),
        (
            Shift("a", 0.18, 0.12, lost=0.06, lost_confidence=0.61),
            None,
            "Shrank from 18 to 12 % of all pixels, where the base was 61 % sure.",
        ),
        (
            Shift("a", 0.004, 0.0, lost=0.004, lost_to="dog", lost_confidence=0.41, renamed=True),
            None,
            "Gone (it was 0.4 % of all pixels), most of it now called dog: the base was only 41 % sure of it.",
        ),
        (
            Shift("a", 0.0, 0.008, gained=0.008, gained_from="cat", gained_confidence=0.85),
            None,
            "New: 0.8 % of all pixels, mostly out of cat, where the base was 85 % sure.",
        ),
    ],
)
def test_a_class_in_a_sentence(shift: Shift, kept: float | None, sentence: str) -> None:
    assert class_reason(shift, kept) == sentence


def test_percents_are_readable() -> None:
    shares = (0.0, 0.0004, 0.004, 0.03, 0.0949, 0.0996, 0.18, 0.9951, 0.99999, 1.0)
    assert [percent(share) for share in shares] == [
        *("0 %", "under 0.1 %", "0.4 %", "3 %", "9.5 %", "10 %", "18 %", "99.5 %", "99.9 %", "100 %"),
    ]


def test_the_report_tells_classes_and_photos_with_their_reasons() -> None:
    comparison = Comparison(4, 0.9)
    comparison.add(view([0] * 90 + [1] * 10), view([0] * 90 + [1] * 10), photo_id="same")
    comparison.add(view([0] * 90 + [1] * 10, 0.5), view([0] * 80 + [1] * 20), photo_id="other")
    told = json.loads(json.dumps(changes(comparison, NAMES)))
    assert [entry["name"] for entry in told["classes"]] == ["background", "cat"]
    assert told["classes"][1]["reason"].startswith(
        "Grew from 10 to 15 % of all pixels, mostly out of background, where the base was only 50"
    )
    assert [entry["id"] for entry in told["photos_compared"]] == ["other", "same"]
    assert told["photos_compared"][0]["reason"] == "The cat grew from 10 to 20 % of the photo, where the base was only 50 % sure."
    assert told["photos_compared"][0]["classes"][1] == {"id": 1, "name": "cat", "before": 0.1, "after": 0.2}
    assert told["photos_compared"][1]["reason"] == "Nothing changed."


def test_the_report_stays_small() -> None:
    names = tuple(f"a class with a long name, number {index}" for index in range(30))
    before, after = list(range(30)) * 4, list(range(1, 30)) * 4 + [0] * 4
    comparison = Comparison(30, 0.9)
    for index in range(60):
        comparison.add(view(before, classes=30), view(after, classes=30), photo_id=f"{index:036}")
    told = changes(comparison, names)
    assert len(json.dumps(told)) <= MOST_BYTES + 100
    assert 10 < len(told["photos_compared"]) <= MOST_PHOTOS
    assert all(len(entry["classes"]) <= 8 for entry in told["photos_compared"])
