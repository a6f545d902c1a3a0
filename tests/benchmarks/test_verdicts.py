from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.verdicts import comparison_from, counts_to_json, judged, verdict_of
from models.bases.registry import available_bases
from models.comparison import Comparison, Views
from models.guard import GuardLimits
from models.steadiness import class_consistency_error

INFO = next(info for info in available_bases() if info.name == "espnetv2")
CLASSES = len(INFO.class_names)
SAME = torch.tensor([0] * 70 + [8] * 20 + [12] * 10)
LOST = torch.tensor([0] * 70 + [8] * 30)
"""The same photo without its dog (12)."""


def view(labels: torch.Tensor) -> Views:
    probabilities = torch.full((1, CLASSES, 1, len(labels)), 0.0005)
    probabilities[0, labels, 0, torch.arange(len(labels))] = 0.99
    return Views(probabilities, labels[None, None], labels[None, None])


def comparison(after: torch.Tensor, photos: int = 3) -> Comparison:
    found = Comparison(CLASSES)
    for index in range(photos):
        found.add(view(SAME), view(after), photo_id=f"p{index}")
    return found


def cell(**more: Any) -> dict[str, Any]:
    return {"miou": 60.0, "fbiou": 61.0, "base_miou": 50.0, "base_fbiou": 51.0, "counts": counts_to_json(comparison(SAME)), **more}


def test_a_comparison_survives_its_json() -> None:
    torch.manual_seed(0)
    first, second = torch.randn(2, CLASSES, 8, 8) * 4, torch.randn(2, CLASSES, 8, 8)
    given = Comparison(CLASSES)
    given.add(*(Views(logits.softmax(1), logits.flip(3).argmax(1), logits.roll(1, 3).argmax(1)) for logits in (first, second)))
    assert comparison_from(counts_to_json(given), CLASSES).figures() == pytest.approx(given.figures(), abs=1e-4)


def test_the_photos_of_a_stored_comparison_tell_how_much_is_chance() -> None:
    given = Comparison(CLASSES)
    for index, after in enumerate((SAME, LOST, SAME)):
        moved = Views(view(after).probabilities, LOST[None, None], LOST[None, None])
        given.add(view(SAME), moved, photo_id=f"p{index}")
    error = class_consistency_error(given)
    assert error is not None and error > 0
    assert class_consistency_error(comparison_from(counts_to_json(given), CLASSES)) == pytest.approx(error)


def test_cells_that_do_not_tell_photos_apart_are_judged_by_the_drop_alone() -> None:
    stored = counts_to_json(comparison(SAME))
    del stored["by_photo"]
    assert "class_consistency_drop_error" not in verdict_of(cell(counts=stored), INFO).figures
    assert "class_consistency_drop_error" in verdict_of(cell(), INFO).figures


def test_what_a_method_that_looked_itself_saw_is_judged() -> None:
    kept = judged(cell(learned=counts_to_json(comparison(SAME)), shown_as=None), INFO)
    assert (kept["guard"]["code"], kept["served_miou"], kept["served_fbiou"]) == ("accepted", 60.0, 61.0)
    refused = judged(cell(learned=counts_to_json(comparison(LOST)), shown_as=None), INFO)
    assert (refused["guard"]["code"], refused["served_miou"], refused["served_fbiou"]) == ("class_collapse", 50.0, 51.0)


def test_where_training_is_refused_the_appearance_is_served() -> None:
    scores = {"unlearned_miou": 55.0, "unlearned_fbiou": 54.0}
    found = judged(cell(learned=counts_to_json(comparison(LOST)), shown_as="with corrected light", **scores), INFO)
    assert (found["guard"]["code"], found["served_miou"], found["served_fbiou"]) == ("appearance_only", 55.0, 54.0)
    assert "corrected light" in found["guard"]["sentence"]


def test_an_appearance_that_is_refused_is_not_served() -> None:
    seen = {
        "learned": counts_to_json(comparison(SAME)),
        "shown_as": "with corrected light",
        "unlearned_miou": 55.0,
        "unlearned_fbiou": 54.0,
    }
    assert judged(cell(**seen, shown=counts_to_json(comparison(SAME))), INFO)["guard"]["code"] == "accepted"
    found = judged(cell(**seen, shown=counts_to_json(comparison(LOST))), INFO)
    assert (found["guard"]["code"], found["served_miou"]) == ("class_collapse", 50.0)


def test_a_method_that_did_not_look_is_judged_by_the_scorer_s_comparison() -> None:
    assert judged(cell(), INFO)["guard"]["code"] == "accepted"
    assert judged(cell(counts=counts_to_json(comparison(LOST))), INFO)["served_miou"] == 50.0


def test_a_method_that_ended_with_the_base_keeps_its_own_verdict() -> None:
    own = {"accepted": False, "code": "nothing_to_learn", "sentence": "Nothing.", "figures": {}}
    found = judged(cell(own_verdict=own), INFO)
    assert (found["guard"], found["served_miou"]) == (own, 50.0)


def test_another_guard_judges_the_same_cell() -> None:
    lost = cell(counts=counts_to_json(comparison(LOST)))
    assert np.isclose(verdict_of(lost, INFO).figures["changed_share"], 0.1)
    assert verdict_of(lost, INFO, GuardLimits(collapse_to_ratio=0.0, min_confident_agreement=0.5, min_objects_kept=0.0)).accepted
