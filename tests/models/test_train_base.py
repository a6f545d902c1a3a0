"""Training the base: really trains, and goes on where it was broken off, to the same weights."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

import models
from models.bases.registry import build_espnetv2, read_base_weights, stored_names
from models.datasets import LabelledFolder
from models.train_base import RECIPES, AveragedTargets, Phase, Trainer, build, main, visible_mates


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: models.Base, photos) -> Path:
    """A VOC-layout folder of real photographs, labelled by the tiny base."""
    root = tmp_path_factory.mktemp("voc")
    (root / "JPEGImages").mkdir()
    (root / "SegmentationClass").mkdir()
    for index, photo in enumerate(photos * 2):
        photo = photo if index < len(photos) else photo[:, ::-1].copy()
        Image.fromarray(photo).save(root / "JPEGImages" / f"p{index}.jpg")
        Image.fromarray(models.segment(tiny, photo).labels).save(root / "SegmentationClass" / f"p{index}.png")
    return root


SMALL = {"epochs": 3, "smallest": 64, "largest": 96}
BOTH_PHASES = pytest.mark.parametrize("phase", list(Phase))


def trainer(folder: Path, out: Path, phase: Phase = Phase.TOGETHER) -> Trainer:
    out.mkdir(exist_ok=True)
    torch.manual_seed(0)
    recipe = replace(RECIPES[phase], **SMALL, crop=64 if phase is Phase.TOGETHER else None)
    return Trainer(build(None, 0.5), phase, recipe, LabelledFolder.open(folder), out, torch.device("cpu"), side=96)


class BreakOff(Exception):
    pass


@BOTH_PHASES
def test_a_broken_off_run_ends_at_the_same_weights(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, phase: Phase) -> None:
    whole = trainer(folder, tmp_path / "whole", phase)
    whole.train(checkpoint_steps=2)
    broken = trainer(folder, tmp_path / "broken", phase)
    steps = iter(range(100))
    one_step = Trainer._one_step

    def failing(self: Trainer, batch: list[int], done: float) -> float:
        if next(steps) == 3:
            raise BreakOff
        return one_step(self, batch, done)

    monkeypatch.setattr(Trainer, "_one_step", failing)
    with pytest.raises(BreakOff):
        broken.train(checkpoint_steps=2)
    monkeypatch.undo()
    resumed = trainer(folder, tmp_path / "broken", phase)
    resumed.load()
    assert resumed.step == 2
    resumed.train(checkpoint_steps=2)
    pairs = zip(stored_names(whole.mean).items(), stored_names(resumed.mean).values(), strict=True)
    assert [name for (name, a), b in pairs if not torch.equal(a, b)] == []


@BOTH_PHASES
def test_the_command_writes_weights_that_load(folder: Path, tmp_path: Path, tiny: models.Base, phase: Phase) -> None:
    command = typer.Typer()
    command.command()(main)
    ids = tmp_path / "ids.txt"
    ids.write_text("p0\np1\np2\n")
    arguments = ["--data", folder, "--out", tmp_path / "run", "--width", "0.5", "--epochs", "1", "--ids", ids]
    arguments += ["--phase", phase.value, "--weights", tiny.info.weights]
    outcome = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output
    written = build_espnetv2(0.5)
    read_base_weights(written, (tmp_path / "run" / "espnetv2.safetensors").read_bytes())
    same = torch.equal(written.base.stem.conv.weight, tiny.segmenter.base.stem.conv.weight)
    assert same == (phase is Phase.CONTEXT)  # the second phase leaves the base as it was
    assert written.context.classify.weight.abs().sum() > 0


def test_targets_are_made_once_and_are_distributions(folder: Path, tmp_path: Path, tiny: models.Base) -> None:
    labelled = LabelledFolder.open(folder)
    targets = AveragedTargets(tiny.segmenter.base, labelled, 96, 21, tmp_path, torch.device("cpu"))
    first = targets.of(1)
    torch.testing.assert_close(first.sum(0), torch.ones(24, 24), atol=5e-3, rtol=0)
    again = AveragedTargets(torch.nn.Identity(), labelled, 96, 21, tmp_path, torch.device("cpu"))  # a network that could not make them
    assert torch.equal(again.of(1), first)
    with pytest.raises(ValueError, match="another run"):
        AveragedTargets(tiny.segmenter.base, labelled, 64, 21, tmp_path, torch.device("cpu"))


def test_batch_norm_of_the_base_keeps_its_statistics(folder: Path, tmp_path: Path) -> None:
    run = trainer(folder, tmp_path / "run")
    before = {name: value.clone() for name, value in run.segmenter.base.state_dict().items() if "running" in name}
    weight = run.segmenter.base.stem.conv.weight.detach().clone()
    run.train(checkpoint_steps=100)
    assert all(torch.equal(value, run.segmenter.base.state_dict()[name]) for name, value in before.items())
    assert not torch.equal(weight, run.segmenter.base.stem.conv.weight)


def test_a_photo_always_sees_itself() -> None:
    rng = np.random.default_rng(0)
    counts = set()
    for _ in range(50):
        seen = visible_mates(4, 3, rng)
        blocks = seen.view(4, 4, 3)
        assert all(blocks[i, i].all() for i in range(4))
        assert (blocks.all(2) == blocks.any(2)).all()  # a photo's proxies come all or none
        counts.add(int(seen.sum()))
    assert 12 in counts  # each photo alone
    assert 48 in counts  # all of the group


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no labelled photos"):
        LabelledFolder.open(tmp_path)
