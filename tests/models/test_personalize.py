import io
import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import models
from models import clock, stages
from models.check import ENOUGH
from models.clock import STAGES, Clock
from models.datasets import LabelledFolder
from models.gallery import snap
from models.inference import personal_features, personal_logits
from models.look import Copies, Look
from models.memory import Portions
from models.preprocess import shrink
from models.resume import Journal
from models.stages import Labels, remember
from models.steadiness import class_consistency_error
from tests.models.conftest import Album, at_half_the_side

QUICK = models.PersonalizeConfig(budget_seconds=600.0, scales=(1.0,), epochs=1, runs=1, keep_share_shifted=0.85)
PAIRS = replace(QUICK, group_size=2)


@dataclass
class Run:
    """One personalisation, what it told meanwhile, and the base's tensors as they were before it."""

    result: models.Personalization
    heard: list[models.Progress]
    before: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def tiny(tiny: models.Base) -> models.Base:
    return at_half_the_side(tiny)


@pytest.fixture(scope="module")
def run(tiny: models.Base, album: Album) -> Run:
    heard: list[models.Progress] = []
    before = {name: value.clone() for name, value in tiny.segmenter.state_dict().items()}
    return Run(models.personalize(tiny, album, QUICK, on_progress=heard.append), heard, before)


@pytest.fixture(scope="module")
def result(run: Run) -> models.Personalization:
    return run.result


@pytest.fixture(scope="module")
def few(album: Album) -> Album:
    """Four of its photos, for tests that run the whole again."""
    return Album(album.photos[:4])


@pytest.fixture(scope="module")
def of_few(tiny: models.Base, few: Album) -> models.Personalization:
    return models.personalize(tiny, few, PAIRS)


def test_a_real_album_gets_a_personal_model(result: models.Personalization, album: Album) -> None:
    assert result.verdict.accepted, result.verdict
    assert result.model is not None
    assert set(result.groups) == set(album.ids)


def test_what_the_guard_judged_comes_with_the_result(result: models.Personalization) -> None:
    assert result.learned is not None
    chance = class_consistency_error(result.learned)
    assert chance is not None
    assert result.learned.figures() | {"class_consistency_drop_error": chance} == result.verdict.figures
    assert result.candidate is not None
    assert (result.unlearned is None) == (result.shown_as is None) == (not result.candidate.appearance.changes_anything)


def test_the_report_is_json_and_tells_what_happened(result: models.Personalization, album: Album) -> None:
    report = json.loads(json.dumps(result.report))
    assert report["photos"] == report["photos_seen"] == report["photos_learned_from"] == len(album.photos)
    assert [stage["name"] for stage in report["stages"]] == [name for name, _ in STAGES]
    assert sum(group["size"] for group in report["groups"]) == len(album.photos)
    assert report["verdict"]["accepted"] is True
    assert report["training"]["steps"] == report["training"]["planned_steps"] > 0
    assert {entry["name"] for entry in report["pseudo_labels"]["classes"]} >= {"background", "person", "cat"}
    # of each class the most confident 85 % are kept, give or take ties
    assert report["pseudo_labels"]["labelled_share"] == pytest.approx(0.85, abs=0.02)


@pytest.mark.parametrize("scales", [(1.0,), (0.75, 1.0, 1.25)])
def test_the_side_that_is_learned_from_is_that_of_the_copies(tiny: models.Base, scales: tuple[float, ...]) -> None:
    config = replace(QUICK, scales=scales)
    assert models.learned_side(tiny, config) == Copies(1, tiny, config).side
    assert models.learned_side(tiny, config) == snap(tiny.info.side * scales[-1])
    assert Copies(1, tiny, config).pixels.shape[2:] == (models.learned_side(tiny, config),) * 2


def test_the_base_is_never_changed(tiny: models.Base, run: Run) -> None:
    assert run.result.report["training"]["steps"] > 0
    after = tiny.segmenter.state_dict()
    assert all(torch.equal(run.before[name], after[name]) for name in run.before)


def test_same_seed_same_model_bit_for_bit(tiny: models.Base, few: Album, of_few: models.Personalization) -> None:
    again = models.personalize(tiny, few, PAIRS)
    assert again.candidate is not None
    assert of_few.candidate is not None
    assert again.candidate.stored == of_few.candidate.stored


def test_another_seed_another_model(tiny: models.Base, few: Album, of_few: models.Personalization) -> None:
    other = models.personalize(tiny, few, replace(PAIRS, seed=1))
    assert other.candidate is not None
    assert of_few.candidate is not None
    assert other.candidate.stored != of_few.candidate.stored


def test_the_personal_model_learned_its_gallery(tiny: models.Base, few: Album) -> None:
    """More epochs on the pseudo labels lower their loss: the training really trains."""
    report = models.personalize(tiny, few, replace(QUICK, epochs=8)).report
    losses = report["training"]["losses"]
    assert losses[-1] < losses[0]


def test_progress_never_falls_and_ends_at_1(run: Run) -> None:
    fractions = [progress.fraction for progress in run.heard]
    assert fractions == sorted(fractions)
    assert fractions[-1] == pytest.approx(1.0)
    assert list(dict.fromkeys(progress.stage for progress in run.heard)) == [name for name, _ in STAGES]


@pytest.mark.parametrize("calls", [0, 3, 12])
def test_it_stops_when_told(tiny: models.Base, album: Album, calls: int) -> None:
    asked = iter(range(1000))
    with pytest.raises(models.Cancelled):
        models.personalize(tiny, album, QUICK, should_stop=lambda: next(asked) >= calls)


def test_without_time_nothing_is_learned_and_nothing_is_served(tiny: models.Base, album: Album) -> None:
    result = models.personalize(tiny, album, replace(QUICK, budget_seconds=0.05))
    assert (result.verdict.accepted, result.verdict.code, result.model) == (False, "no_time_to_learn", None)
    assert result.report["budget_reached"] is True
    assert result.report["photos_seen"] >= 2
    assert result.report["seconds"] < 30


def hurried(
    tiny: models.Base, album: Album, monkeypatch: pytest.MonkeyPatch, stage: str, step: int, to: float, **settings: object
) -> models.Personalization:
    """A personalisation by a clock that stands still but for one leap: to `to` of the budget after that step (-1: the last) of a stage."""
    now = [0.0]
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: now[0]))
    config = replace(QUICK, budget_seconds=100.0, group_size=2, **settings)  # type: ignore[arg-type]

    def leap(progress: models.Progress) -> None:
        if progress.stage == stage and progress.step == (step if step > 0 else progress.steps):
            now[0] = 100.0 * to

    return models.personalize(tiny, album, config, on_progress=leap)


def test_at_the_bound_the_best_so_far_is_judged(tiny: models.Base, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    result = hurried(tiny, album, monkeypatch, "training", 2, 0.9)
    assert result.report["training"]["steps"] == 2 < result.report["training"]["planned_steps"]
    assert result.verdict.accepted
    assert result.verdict.sentence.endswith(f"after 2 of {result.report['training']['planned_steps']} steps: more time may make it better.")


def test_the_guard_looks_at_photos_whatever_the_budget_says(tiny: models.Base, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    result = hurried(tiny, album, monkeypatch, "training", -1, 1.5)
    assert result.learned is not None
    assert result.learned.total.photos == min(ENOUGH, len(album.ids))


def test_without_a_step_of_training_the_base_is_kept(tiny: models.Base, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    result = hurried(tiny, album, monkeypatch, "labelling", -1, 0.9)
    assert (result.verdict.code, result.model, result.report["training"]["steps"]) == ("no_time_to_learn", None, 0)


def test_without_a_step_of_training_the_appearance_is_served(tiny: models.Base, photos, monkeypatch: pytest.MonkeyPatch) -> None:
    hazy = Album(tuple((150 + 0.35 * photo).astype(np.uint8) for photo in photos))
    result = hurried(tiny, hazy, monkeypatch, "labelling", -1, 0.9)
    assert (result.verdict.accepted, result.verdict.code) == (True, "appearance_only")
    assert "Nothing was learned beyond that, because the time was over" in result.verdict.sentence
    assert result.model is result.unlearned is not None
    assert result.report["classes"]


def test_an_appearance_that_breaks_something_is_refused_with_all_that_was_learned(tiny: models.Base, photos) -> None:
    hazy = Album(tuple((150 + 0.35 * photo).astype(np.uint8) for photo in photos))
    impossible = models.GuardLimits(collapse_to_ratio=1.01)
    result = models.personalize(tiny, hazy, QUICK, limits=impossible)
    assert result.unlearned is not None and result.shown is not None
    assert (result.model, result.verdict.accepted, result.verdict.code) == (None, False, "class_collapse")
    assert result.verdict.sentence.startswith("Kept the base model and photos as they are, because with photos shown to it with corrected ")
    assert result.verdict.figures == result.shown.figures()


def test_labelling_leaves_time_for_training(tiny: models.Base, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    result = hurried(tiny, album, monkeypatch, "labelling", 2, 0.8)
    report = result.report
    assert 2 <= report["photos_learned_from"] <= 4 < report["photos_seen"] == len(album.photos)
    assert report["training"]["steps"] == report["training"]["planned_steps"] > 0
    assert report["budget_reached"] is True
    assert result.model is not None


@pytest.mark.parametrize(("to", "code"), [(0.8, "no_time_to_learn"), (0.0, "nothing_to_learn")])
def test_what_was_not_labelled_for_want_of_time_might_have_taught_something(
    tiny: models.Base, album: Album, monkeypatch: pytest.MonkeyPatch, to: float, code: str
) -> None:
    monkeypatch.setattr(Labels, "teach_something", lambda self, positions: False)
    assert hurried(tiny, album, monkeypatch, "labelling", 2, to).verdict.code == code


def test_no_epoch_is_not_want_of_time(tiny: models.Base, few: Album) -> None:
    """The benchmark's "appearance alone"."""
    result = models.personalize(tiny, few, replace(PAIRS, epochs=0))
    assert result.verdict.accepted, result.verdict
    assert result.verdict.figures["changed_share"] == 0
    assert result.report["training"]["planned_steps"] == 0


def test_remembering_can_be_cancelled(tiny: models.Base, few: Album) -> None:
    def cancel() -> None:
        raise models.Cancelled

    clock = Clock(600.0, lambda progress: None, lambda: False)
    run = stages.Run(tiny, PAIRS, clock, Journal.open(None, clock, "", ()), Portions(1, cancel))
    pixels = torch.stack([shrink(photo, 64) for photo in few.photos])
    seen = Look([0, 1, 2, 3], np.array([0, 0, 1, 1]), np.zeros((2, 8), np.float32), [0, 1, 2, 3], pixels)
    with pytest.raises(models.Cancelled):
        remember(run, tiny.segmenter, seen, 64)


def test_only_what_is_learned_from_can_teach() -> None:
    selected = torch.tensor([[[0, 255]], [[0, 7]]], dtype=torch.uint8)
    labels = Labels(selected, selected, torch.zeros(8))
    assert labels.teach_something([0, 1]) and not labels.teach_something([0])


def test_a_new_photo_finds_its_context_in_the_bank(tiny: models.Base, result: models.Personalization, photos) -> None:
    personal = result.model
    assert personal is not None
    new = photos[0][:, ::-1].copy()
    assert models.segment(tiny, new, personal).labels.shape == photos[0].shape[:2]
    pixels = shrink(new, personal.appearance.side)[None]
    alone = personal.segmenter.with_context(personal_features(personal, pixels, tiny.device))
    assert (personal_logits(personal, pixels, tiny.device) - alone).abs().max() > 0.01, "the bank changes what is seen"
    known = models.segment(tiny, photos[0], personal, group=result.groups["photo-0"])
    assert np.array_equal(known.labels, models.segment(tiny, photos[0], personal).labels)


def junk(kind: str) -> Album:
    rng = np.random.default_rng(0)
    if kind == "one photo":
        return Album((rng.integers(0, 256, (60, 80, 3), dtype=np.uint8),))
    if kind == "none":
        return Album(())
    if kind == "black":
        return Album((np.zeros((60, 80, 3), dtype=np.uint8),) * 6)
    if kind == "noise":
        return Album(tuple(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(6)))
    return Album((np.full((50, 70, 3), (135, 190, 235), dtype=np.uint8),) * 6)


@pytest.mark.parametrize("kind", ["none", "one photo", "black", "noise", "sky"])
def test_junk_keeps_the_base_or_changes_nothing_to_speak_of(tiny: models.Base, kind: str) -> None:
    result = models.personalize(tiny, junk(kind), QUICK)
    assert result.verdict.sentence.endswith(".")
    if result.verdict.accepted:
        assert result.verdict.figures["confident_agreement"] > 0.9
    else:
        assert result.model is None
        assert result.verdict.sentence.startswith("Kept the base model, because")


def test_two_pictures_are_alike_up_to_three_levels(tiny: models.Base) -> None:
    copies = Copies(2, tiny, QUICK)
    plain = torch.full((3, copies.side, copies.side), 100, dtype=torch.uint8)
    assert not copies.has_alike(plain)
    assert copies.add(plain)
    assert copies.has_alike(plain + 3)
    assert not copies.has_alike(plain + 4)
    one_channel = plain.clone()
    one_channel[0] += 5  # RMS over the three: 5 / √3 = 2.9
    assert copies.has_alike(one_channel)
    one_channel[0] += 1  # 6 / √3 = 3.5
    assert not copies.has_alike(one_channel)
    assert copies.add(plain + 50)
    assert copies.has_alike(plain + 51)
    assert not copies.add(plain + 100), "there is no room"
    assert len(copies) == 2


def saved_anew(photo: np.ndarray, quality: int, share: float = 1.0) -> np.ndarray:
    """The photo, perhaps smaller, through a JPEG."""
    image, file = Image.fromarray(photo), io.BytesIO()
    image.resize((round(share * image.width), round(share * image.height))).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def test_copies_of_one_photo_are_too_few(tiny: models.Base, photos) -> None:
    copies = Album(tuple(saved_anew(photos[0], 50 + 4 * index, 1.0 if index % 2 else 0.6) for index in range(12)))
    result = models.personalize(tiny, copies, QUICK)
    assert (result.model, result.verdict.code) == (None, "too_few_photos")
    assert "the 12 photos looked at show one and the same picture" in result.verdict.sentence
    assert result.report["photos"] == 12


def test_of_copies_only_one_is_learned_from(tiny: models.Base, photos) -> None:
    different = tuple(photos[:3])
    copies = tuple(saved_anew(photo, quality) for photo in different for quality in (60, 80, 90))
    found = models.personalize(tiny, Album(different + copies), QUICK)
    assert (found.report["photos_seen"], found.report["photos_alike"], found.report["photos_learned_from"]) == (12, 9, 3)
    assert len(found.groups) == 12
    assert len(found.report["photos_compared"]) == 3


def test_photos_that_are_merely_similar_are_not_copies(tiny: models.Base, photos) -> None:
    """A little darker, mirrored, or a step to the side: there is something to learn from each."""
    photo = photos[0]
    similar = Album((photo, (photo * 0.9).astype(np.uint8), photo[:, ::-1].copy(), photo[:, photo.shape[1] // 12 :].copy()))
    report = models.personalize(tiny, similar, QUICK).report
    assert (report["photos_alike"], report["photos_learned_from"]) == (0, 4)


def test_a_gallery_of_an_unfamiliar_camera_keeps_fewer_pixels(tiny: models.Base, photos) -> None:
    hazy = Album(tuple((photo * 0.25 + 0.75 * 205).astype(np.uint8) for photo in photos))
    report = models.personalize(tiny, hazy, replace(QUICK, keep_share=0.9, keep_share_shifted=0.5)).report
    assert report["appearance"]["distances"]["as it is"] > 1.12 * tiny.info.familiar_distance
    assert report["pseudo_labels"]["labelled_share"] == pytest.approx(0.5, abs=0.03)
    assert report["appearance"]["kind"] != "as it is"


def test_parts_can_be_left_out(tiny: models.Base, few: Album) -> None:
    bare = replace(QUICK, appearance=False, context=False, class_balance=False, strong_views=False)
    result = models.personalize(tiny, few, bare)
    assert result.report["appearance"]["distances"] == {}
    assert result.candidate is not None
    assert not result.candidate.segmenter.use_context
    assert len(result.candidate.bank.proxies) == 0


def test_training_that_diverges_ends_as_refused(tiny: models.Base, few: Album) -> None:
    result = models.personalize(tiny, few, replace(PAIRS, learning_rate=1e3))
    assert (result.model, result.verdict.code) == (None, "diverged")
    # the losses are no numbers, and JSON, which a database checks, has none for that
    json.dumps(result.report, allow_nan=False)


@pytest.fixture
def source(tmp_path, photos) -> LabelledFolder:
    """Three labelled photos in the benchmark's layout."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index, photo in enumerate(photos[:3]):
        Image.fromarray(photo).save(tmp_path / "images" / f"{index}.jpg")
        mask = np.zeros(photo.shape[:2], np.uint8)
        mask[: mask.shape[0] // 2] = 8 + index
        Image.fromarray(mask).save(tmp_path / "masks" / f"{index}.png")
    return LabelledFolder.open(tmp_path)


def test_with_source_photos_step_1_runs_first(
    tiny: models.Base, few: Album, source: LabelledFolder, of_few: models.Personalization
) -> None:
    seen: list[models.Progress] = []
    aligned = models.personalize(tiny, few, PAIRS, source=source, on_progress=seen.append)
    assert aligned.report["alignment"]["steps"] == aligned.report["alignment"]["planned_steps"] > 0
    assert "alignment" not in of_few.report
    assert of_few.candidate is not None
    assert aligned.candidate is not None
    assert aligned.candidate.stored != of_few.candidate.stored
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)
