"""A personalisation that is broken off goes on from its checkpoint, and its result is the same file."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import models
from models import resume
from models.checkpoint_file import FORMAT, Checkpoint, CheckpointUnusable, Section, pack, photo_ids_in, unpack
from models.clock import STAGES, Clock
from models.datasets import LabelledFolder
from models.preprocess import shrink
from models.resume import Journal, moments_of, restore_moments
from tests.models.conftest import Album, at_half_the_side

QUICK = models.PersonalizeConfig(budget_seconds=600.0, scales=(1.0,), epochs=1, runs=2, group_size=2, guard_photos=3)


class Died(Exception):
    """Stands for whatever ends a worker."""


class Memory:
    """A `CheckpointStore` that keeps the newest in memory."""

    def __init__(self) -> None:
        self.kept: bytes | None = None
        self.saves = 0

    def load(self) -> bytes | None:
        return self.kept

    def save(self, data: bytes) -> None:
        self.kept, self.saves = data, self.saves + 1


@pytest.fixture(scope="module")
def tiny(tiny: models.Base) -> models.Base:
    return at_half_the_side(tiny)


@pytest.fixture(scope="module")
def small(album: Album) -> Album:
    return Album(tuple(shrink(photo, 96).permute(1, 2, 0).numpy() for photo in album.photos[:4]))


@pytest.fixture(scope="module")
def unbroken(tiny: models.Base, small: Album) -> models.Personalization:
    return models.personalize(tiny, small, QUICK)


@pytest.fixture
def saved_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resume, "EVERY_SECONDS", 0.0)
    monkeypatch.setattr(resume, "SHARE_OF_TIME", float("inf"))


def stored(result: models.Personalization) -> tuple[bytes, bytes | None]:
    assert result.candidate is not None
    return result.candidate.stored, None if result.model is None else result.model.stored


def told_facts(result: models.Personalization) -> dict[str, object]:
    """The report without what depends on the machine's pace."""
    paced = ("seconds", "stages", "checkpoint")
    return {name: value for name, value in result.report.items() if name not in paced}


def run_until_done(
    every: int, *arguments: object, breaks: int = 100, **options: object
) -> tuple[models.Personalization, list[models.Progress], int]:
    """Breaks the run off after every few steps, by a cancellation and by an exception in turn, until its end or so many breaks."""
    heard: list[models.Progress] = []
    for attempt in range(200):
        last = len(heard) + (every if attempt < breaks else 10**6)

        def die(progress: models.Progress, attempt: int = attempt, last: int = last) -> None:
            heard.append(progress)
            if attempt % 2 and len(heard) >= last:
                raise Died

        def stop(last: int = last) -> bool:
            return len(heard) >= last

        try:
            result = models.personalize(*arguments, on_progress=die, should_stop=stop if attempt % 2 == 0 else lambda: False, **options)  # type: ignore[arg-type]
        except (models.Cancelled, Died):
            continue
        return result, heard, attempt
    raise AssertionError("it never came to its end")


def test_broken_off_every_few_steps_it_makes_the_same_file(
    tiny: models.Base, small: Album, unbroken: models.Personalization, saved_every_step: None
) -> None:
    store = Memory()
    result, heard, breaks = run_until_done(4, tiny, small, QUICK, checkpoints=store)
    assert breaks >= 5
    assert stored(result) == stored(unbroken)
    assert result.groups == unbroken.groups
    assert result.verdict == unbroken.verdict
    assert told_facts(result) == told_facts(unbroken)
    assert result.report["checkpoint"]["resumed_from"] == "checking"
    assert [stage["name"] for stage in result.report["stages"]] == [name for name, _ in STAGES]
    fractions = [progress.fraction for progress in heard]
    assert fractions == sorted(fractions)
    assert len(heard) == len({(progress.stage, progress.step) for progress in heard}), "no step is done twice"


def test_broken_off_in_the_look_copies_are_told_apart_as_before(tiny: models.Base, small: Album, saved_every_step: None) -> None:
    """The gallery holds each photo twice; which of two is learned from must not depend on where the look was broken off."""
    twice = Album(small.photos + small.photos)
    unbroken = models.personalize(tiny, twice, QUICK)
    result, heard, breaks = run_until_done(2, tiny, twice, QUICK, checkpoints=Memory(), breaks=4)
    assert breaks == 4
    assert heard[5].stage == STAGES[0][0], "all but the last break were in the look"
    assert stored(result) == stored(unbroken)
    assert told_facts(result) == told_facts(unbroken)
    assert (result.report["photos_seen"], result.report["photos_alike"], result.report["photos_learned_from"]) == (8, 4, 4)


@pytest.mark.parametrize("stage", ["labelling", "training", "checking"])
def test_what_was_not_saved_is_done_again_and_the_file_is_the_same(
    tiny: models.Base, small: Album, unbroken: models.Personalization, stage: str
) -> None:
    """Only the ends of the stages are saved here."""
    store = Memory()

    def die(progress: models.Progress) -> None:
        if progress.stage == stage and progress.step == 2:
            raise Died

    with pytest.raises(Died):
        models.personalize(tiny, small, QUICK, checkpoints=store, on_progress=die)
    seen: list[models.Progress] = []
    again = models.personalize(tiny, small, QUICK, checkpoints=store, on_progress=seen.append)
    assert stored(again) == stored(unbroken)
    assert {progress.stage for progress in seen} == {name for name, _ in STAGES[[n for n, _ in STAGES].index(stage) :]}


def test_a_mean_teacher_and_an_anchor_resume_too(tiny: models.Base, small: Album, saved_every_step: None) -> None:
    config = replace(QUICK, teacher_decay=0.9, anchor_weight=0.5, appearance=False)
    whole = models.personalize(tiny, small, config)
    result, _, breaks = run_until_done(5, tiny, small, config, checkpoints=Memory())
    assert breaks >= 1
    assert stored(result) == stored(whole)


def test_step_1_resumes_too(tiny: models.Base, small: Album, tmp_path, saved_every_step: None) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for index, photo in enumerate(small.photos[:2]):
        Image.fromarray(photo).save(tmp_path / "images" / f"{index}.png")
        (tmp_path / "images" / f"{index}.png").rename(tmp_path / "images" / f"{index}.jpg")
        mask = np.zeros(photo.shape[:2], np.uint8)
        mask[: mask.shape[0] // 2] = 8 + index
        Image.fromarray(mask).save(tmp_path / "masks" / f"{index}.png")
    source = LabelledFolder.open(tmp_path)
    config = replace(QUICK, runs=1, guard_photos=2)
    whole = models.personalize(tiny, small, config, source=source)
    result, heard, breaks = run_until_done(4, tiny, small, config, source=source, checkpoints=Memory(), breaks=3)
    assert breaks == 3
    assert {progress.stage for progress in heard[11:13]} == {"aligning"}, "the last break was in step 1"
    assert whole.report["alignment"] == result.report["alignment"]
    assert stored(result) == stored(whole)


def interrupted(tiny: models.Base, album: Album, config: models.PersonalizeConfig, stage: str = "labelling") -> Memory:
    store = Memory()

    def die(progress: models.Progress) -> None:
        if progress.stage == stage:
            raise Died

    with pytest.raises(Died):
        models.personalize(tiny, album, config, checkpoints=store, on_progress=die)
    return store


@pytest.fixture(scope="module")
def labelled(tiny: models.Base, small: Album) -> bytes:
    """A checkpoint of a run that came as far as its labels."""
    kept = interrupted(tiny, small, QUICK, "training").kept
    assert kept is not None
    return kept


def start_over(tiny: models.Base, album: Album, data: bytes, config: models.PersonalizeConfig = QUICK) -> str:
    """Why a checkpoint is left aside; the run is not waited for."""
    journal = Journal.open(Holding(data), Clock(600.0, lambda _: None, lambda: False), fits_of(tiny, album, config), tuple(album.ids))
    assert journal.resumed_from is None
    assert journal.finished("looking") is None
    assert journal.left_aside is not None
    return journal.left_aside


class Holding(Memory):
    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.kept = data


def fits_of(tiny: models.Base, album: Album, config: models.PersonalizeConfig) -> str:
    from models.personalize import what_fits

    return what_fits(tiny, album, config, models.GuardLimits(), None)


def test_a_checkpoint_of_another_job_is_left_aside(tiny: models.Base, small: Album, labelled: bytes) -> None:
    for album, config in (
        (small, replace(QUICK, seed=1)),
        (small, replace(QUICK, budget_seconds=601.0)),
        (Album(small.photos[:3]), QUICK),
    ):
        assert "of another gallery, base or configuration" in start_over(tiny, album, labelled, config)
    other = replace(tiny, info=replace(tiny.info, sha256="0" * 64))
    assert "of another gallery, base or configuration" in start_over(other, small, labelled)


def damaged(data: bytes) -> Iterator[bytes]:
    yield b""
    yield b"not a checkpoint"
    yield data[:100]
    yield data[: len(data) // 2]
    yield data[:-1]
    yield bytes(8) + data[8:]
    flipped = bytearray(data)
    flipped[-1000] ^= 1
    yield bytes(flipped)
    yield data.replace(FORMAT.encode(), b"personalseg-checkpoint-2")


def test_a_damaged_checkpoint_is_left_aside(tiny: models.Base, small: Album, labelled: bytes) -> None:
    for data in damaged(labelled):
        assert start_over(tiny, small, data).startswith("A checkpoint was left aside: it is ")


def test_the_report_says_that_a_checkpoint_was_left_aside(tiny: models.Base, small: Album, unbroken: models.Personalization) -> None:
    result = models.personalize(tiny, small, QUICK, checkpoints=Holding(b"garbage"))
    assert "left aside" in result.report["checkpoint"]["left_aside"]
    assert stored(result) == stored(unbroken)
    assert "checkpoint" not in unbroken.report


def test_the_time_of_earlier_runs_counts(tiny: models.Base, small: Album) -> None:
    """An earlier run that used the budget up leaves none for training: it is over after the steps that were saved."""
    config = replace(QUICK, budget_seconds=5000.0)
    store = interrupted(tiny, small, config, "training")
    assert store.kept is not None
    before = unpack(store.kept)
    store.kept = pack(replace(before, clock={**before.clock, "elapsed": 4990.0}))
    result = models.personalize(tiny, small, config, checkpoints=store)
    assert result.report["budget_reached"] is True
    assert result.report["training"]["steps"] == 0
    assert result.report["seconds"] > 4990
    assert result.report["checkpoint"]["seconds_before"] == pytest.approx(4990, abs=1)


def test_a_checkpoint_names_its_photos(small: Album, labelled: bytes) -> None:
    assert photo_ids_in(labelled) == tuple(small.ids)
    assert photo_ids_in(b"garbage") is None


def test_without_a_store_nothing_is_kept() -> None:
    journal = Journal.open(None, Clock(1.0, lambda _: None, lambda: False), "x", ())
    journal.note("training", lambda: pytest.fail("nobody asked for it"))
    journal.finish("training", lambda: pytest.fail("nobody asked for it"))
    assert journal.finished("training") is None


def test_a_file_keeps_every_bit() -> None:
    tensors = {
        "half": torch.tensor([0.1, float("inf")], dtype=torch.float16),
        "map": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "scalar": torch.tensor(3.0),
        "none": torch.zeros(0, 7),
    }
    facts = {"losses": [0.1 + 0.2, float("inf")], "words": "ü"}
    whole = Checkpoint("abc", ("a", "b"), {"elapsed": 1 / 3}, {"one": Section(tensors, facts, complete=True), "two": Section()})
    found = unpack(pack(whole))
    assert (found.fits, found.photo_ids, dict(found.clock)) == ("abc", ("a", "b"), {"elapsed": 1 / 3})
    assert dict(found.sections["one"].facts) == facts
    assert found.sections["one"].complete and not found.sections["two"].complete
    assert {name: value.dtype for name, value in found.sections["one"].tensors.items()} == {k: v.dtype for k, v in tensors.items()}
    assert all(torch.equal(found.sections["one"].tensors[name], value) for name, value in tensors.items())
    with pytest.raises(CheckpointUnusable):
        unpack(json.dumps({}).encode())


def test_moments_come_back_in_the_parameters_layout() -> None:
    layer = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    first, second = torch.optim.AdamW(layer.parameters()), torch.optim.AdamW(layer.parameters())
    layer(torch.randn(1, 4, 5, 5)).square().mean().backward()
    first.step()
    restore_moments(second, moments_of(first))
    for parameter in layer.parameters():
        for name, value in first.state[parameter].items():
            assert torch.equal(second.state[parameter][name], value)
            assert second.state[parameter][name].stride() == value.stride()


class Losing(Album):
    """Some of its photos are deleted: at once, or after so many were read."""

    def __init__(self, photos: tuple[np.ndarray, ...], gone: set[int]) -> None:
        super().__init__(photos)
        object.__setattr__(self, "gone", gone)

    def load(self, index: int) -> np.ndarray:
        if index in self.gone:  # type: ignore[attr-defined]
            raise models.PhotoUnavailable("It was deleted.")
        return super().load(index)


def test_a_deleted_photo_is_left_out(tiny: models.Base, small: Album) -> None:
    result = models.personalize(tiny, Losing(small.photos, {1, 3}), QUICK)
    assert result.candidate is not None
    assert set(result.groups) == set(small.ids) - {"photo-1", "photo-3"}
    assert result.report["photos_seen"] == result.report["photos_learned_from"] == 2
    assert sorted(entry["id"] for entry in result.report["photos_left_out"]) == ["photo-1", "photo-3"]
    assert result.report["photos_left_out"][0]["reason"] == "It was deleted."


def test_too_few_photos_left_keep_the_base(tiny: models.Base, small: Album) -> None:
    result = models.personalize(tiny, Losing(small.photos, {0, 1, 2}), QUICK)
    assert (result.model, result.verdict.code) == (None, "too_few_photos")
    assert "1 of 4" in result.verdict.sentence
    assert len(result.report["photos_left_out"]) == 3


def test_what_was_learned_with_a_photo_that_was_deleted_since_is_forgotten(tiny: models.Base, small: Album, labelled: bytes) -> None:
    seen: list[models.Progress] = []
    result = models.personalize(tiny, Losing(small.photos, {2}), QUICK, checkpoints=Holding(labelled), on_progress=seen.append)
    assert [entry["id"] for entry in result.report["photos_left_out"]] == ["photo-2"]
    assert result.report["photos_learned_from"] == 3
    assert "looking" not in {progress.stage for progress in seen}
    assert "labelling" in {progress.stage for progress in seen}
    fractions = [progress.fraction for progress in seen]
    assert fractions == sorted(fractions)


def test_copies_that_are_left_after_a_deletion_are_told_as_copies(tiny: models.Base, small: Album, saved_every_step: None) -> None:
    photos, store = (*small.photos[:1] * 3, small.photos[1]), Memory()

    def die(progress: models.Progress) -> None:
        if progress.stage != "looking":
            raise Died

    with pytest.raises(Died):
        models.personalize(tiny, Album(photos), QUICK, checkpoints=store, on_progress=die)
    result = models.personalize(tiny, Losing(photos, {3}), QUICK, checkpoints=store)
    assert result.verdict.code == "too_few_photos"
    assert result.verdict.sentence == models.personalize(tiny, Losing(photos, {3}), QUICK).verdict.sentence
    assert "the 3 photos looked at show one and the same picture" in result.verdict.sentence
