import math
import re
import time
from dataclasses import fields, replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.survey import adabn, cotta, fda, intrada, loop, sar, two_domains
from benchmarks.survey.adabn import AdaBN, Moments
from benchmarks.survey.cbst import pseudo_labels, thresholds
from benchmarks.survey.cotta import DECAY, follow, restore
from benchmarks.survey.interface import Method, Problem
from benchmarks.survey.methods import METHODS, Entry
from benchmarks.survey.ours import Ours
from benchmarks.survey.sar import SAR, climb
from benchmarks.survey.source_only import SourceOnly
from benchmarks.survey.tent import Tent
from models.config import PersonalizeConfig
from models.fourier import swap_low_frequencies
from models.losses import pixel_entropy
from models.preprocess import normalize

GRADIENTS = [entry for entry in METHODS.values() if not entry.ours and not isinstance(entry.method, AdaBN | SourceOnly)]


def named(entries: list[Entry]) -> list[object]:
    return [pytest.param(entry, id=entry.method.name) for entry in entries]


def changes(monkeypatch: pytest.MonkeyPatch, problem: Problem, entry: Entry) -> set[str]:
    """The names in the last network that the method copied (or the base's own) whose values differ from the base's."""
    made: list[nn.Module] = []
    original = loop.copied

    def noted(given: Problem, **modes: bool) -> nn.Module:
        made.append(original(given, **modes))
        return made[-1]

    module = __import__(type(entry.method).__module__, fromlist=["copied"])
    if hasattr(module, "copied"):
        monkeypatch.setattr(module, "copied", noted)
    entry.method.adapt(problem)
    before = problem.base.segmenter.base.state_dict()
    after = made[-1].state_dict()
    return {name for name, value in before.items() if not name.endswith("num_batches_tracked") and not torch.equal(value, after[name])}


def predicted(method: Method, problem: Problem) -> torch.Tensor:
    """The adapted network's logits for all photos."""
    adapted = method.adapt(problem)
    with torch.no_grad():
        return adapted.forward(normalize(problem.pixels))


def kinds(network: nn.Module, names: set[str]) -> set[str]:
    """`statistics`, `affine` (batch norm's scale and shift) or `weights`."""
    norms = {name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}
    found = set()
    for name in names:
        owner, _, part = name.rpartition(".")
        found.add("weights" if owner not in norms else "affine" if part in ("weight", "bias") else "statistics")
    return found


@pytest.mark.parametrize("entry", named([entry for entry in METHODS.values() if not entry.ours]))
def test_a_method_runs_and_leaves_the_base_alone(entry: Entry, problem: Problem) -> None:
    before = {name: value.clone() for name, value in problem.base.segmenter.state_dict().items()}
    adapted = entry.method.adapt(problem)
    with torch.no_grad():
        logits = adapted.forward(normalize(problem.pixels))
    assert logits.shape == (4, 21, 32, 32)
    assert torch.isfinite(logits).all()
    assert all(torch.equal(value, before[name]) for name, value in problem.base.segmenter.state_dict().items())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("adabn", {"statistics"}),
        ("tent", {"affine"}),
        ("sar", {"affine"}),
        ("cotta", {"affine", "weights"}),
        ("advent", {"statistics", "weights"}),
        ("advent_kind", {"affine", "weights"}),
        ("fda", {"statistics", "weights"}),
        ("maxsquare", {"statistics", "affine", "weights"}),
        ("cbst", {"affine", "weights"}),
    ],
)
def test_what_a_method_changes(name: str, expected: set[str], problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    found = changes(monkeypatch, problem, METHODS[name])
    assert kinds(problem.base.segmenter.base, found) == expected


def test_sar_leaves_the_last_stage_alone(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not {name for name in changes(monkeypatch, problem, Entry(SAR(), "SAR")) if name.startswith("stage16.")}


@pytest.mark.parametrize("name", ["tent", "cotta", "advent", "cbst", "naive_fast"])
def test_the_same_seed_gives_the_same_network(name: str, problem: Problem) -> None:
    first, second = (predicted(METHODS[name].method, problem) for _ in range(2))
    other = predicted(METHODS[name].method, replace(problem, seed=1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("entry", named(GRADIENTS))
def test_no_step_is_begun_after_the_budget(entry: Entry, problem: Problem) -> None:
    adapted = entry.method.adapt(replace(problem, budget_seconds=0.0))
    assert set(re.findall(r"(\d+) of", adapted.note)) == {"0"}


@pytest.mark.parametrize(("name", "slow"), [("intrada", "rank_and_label"), ("cbst", "gallery_probabilities")])
def test_no_part_of_a_method_has_a_budget_of_its_own(name: str, slow: str, problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes before a part has used up the time of all."""
    module = import_module(f"benchmarks.survey.{name}")
    original = getattr(module, slow)

    def slowly(*given: object) -> object:
        time.sleep(0.3)
        return original(*given)

    monkeypatch.setattr(module, slow, slowly)
    note = METHODS[name].method.adapt(replace(problem, budget_seconds=0.3)).note
    assert re.findall(r"(\d+) of", note)[-1] == "0", note


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if entry.method.needs_source])
def test_a_method_that_needs_source_photos_says_so(name: str, problem: Problem) -> None:
    with pytest.raises(ValueError, match="source"):
        METHODS[name].method.adapt(replace(problem, source=None))


def test_ours_with_source_photos_aligns_with_them_before_it_learns(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []

    def align_with(_run: object, source: object, *_rest: object) -> None:
        given.append(source)
        raise KeyboardInterrupt

    monkeypatch.setattr(import_module("models.personalize"), "align_with", align_with)
    METHODS["ours"].method.adapt(problem)
    assert given == []
    with pytest.raises(KeyboardInterrupt):
        METHODS["ours_source"].method.adapt(problem)
    assert given == [problem.source]


def test_adabn_merges_moments_by_hand() -> None:
    # {0, 2}: mean 1, variance 1; {6}: 6, 0; all: mean 8/3, variance (64 + 4 + 100) / 9 / 3 = 56/9
    moments = Moments()
    moments.see(nn.Identity(), (torch.tensor([0.0, 2.0]).view(2, 1, 1, 1),))
    assert (float(moments.mean), float(moments.variance)) == (1.0, 1.0)
    moments.see(nn.Identity(), (torch.tensor([6.0]).view(1, 1, 1, 1),))
    assert (moments.pixels, float(moments.mean)) == (3, pytest.approx(8 / 3))
    assert float(moments.variance) == pytest.approx(56 / 9)


def test_adabn_takes_the_moments_of_the_whole_gallery(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    monkeypatch.setattr(adabn, "copied", lambda given: networks.append(loop.copied(given)) or networks[-1])
    for size in (4, 3):  # batches of 4, and of 3 and 1
        AdaBN().adapt(replace(problem, batch_size=size))
    # what the first norm sees depends on no batch
    whole, parts = (loop.norms(network)[0] for network in networks)
    assert torch.allclose(whole.running_mean, parts.running_mean, atol=1e-5)
    assert torch.allclose(whole.running_var, parts.running_var, rtol=1e-4)
    with torch.no_grad():
        seen = networks[0].stem.conv(normalize(problem.pixels))
    assert torch.allclose(whole.running_mean, seen.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(whole.running_var, seen.var((0, 2, 3), correction=0), rtol=1e-4)
    base = loop.norms(problem.base.segmenter.base)[0]
    assert not torch.allclose(whole.running_mean, base.running_mean, atol=1e-3)
    assert not any(norm._forward_pre_hooks for norm in loop.norms(networks[0]))


def test_tent_lowers_the_entropy(problem: Problem) -> None:
    before, after = (float(pixel_entropy(predicted(Tent(passes=passes), problem)).mean()) for passes in (0, 6))
    assert after < before


def test_climb_moves_rho_along_the_gradient_by_hand() -> None:
    # gradient (3, 4) has norm 5: the move is 0.05 · (3/5, 4/5)
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    (move,) = climb([parameter])
    assert torch.allclose(move, torch.tensor([0.03, 0.04]))
    assert torch.equal(parameter.data, move)


def test_cotta_follows_and_restores() -> None:
    base, student = nn.Linear(100, 100), nn.Linear(100, 100)
    teacher = nn.Linear(100, 100)
    teacher.load_state_dict(base.state_dict())
    follow(teacher, student)
    assert torch.allclose(teacher.weight, base.weight + (1 - DECAY) * (student.weight - base.weight), atol=1e-7)
    restore(student, base, torch.Generator().manual_seed(0))
    back = (student.weight == base.weight).float().mean().item()
    assert 0.005 < back < 0.015


def test_cbst_thresholds_and_labels_by_hand() -> None:
    # four pixels; class 0 predicted with 0.9, 0.8, 0.6; class 1 with 0.55
    probabilities = torch.tensor([[0.9, 0.8, 0.6, 0.45], [0.1, 0.2, 0.4, 0.55]]).view(1, 2, 1, 4)
    limits = thresholds(probabilities, 0.67)  # 2 of 3 pixels of class 0, 1 of 1 of class 1
    assert torch.allclose(limits, torch.tensor([0.8, 0.55]))
    # ratios: 0.9/0.8, 0.8/0.8, max(0.6/0.8, 0.4/0.55) < 1, 0.55/0.55
    assert pseudo_labels(probabilities, limits).flatten().tolist() == [0, 0, 255, 1]


@pytest.mark.parametrize("entry", named([entry for entry in METHODS.values() if entry.ours]))
def test_a_variant_of_ours_overrides_settings_that_exist(entry: Entry) -> None:
    known = {field.name for field in fields(PersonalizeConfig)}
    assert set(entry.method.settings) <= known  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["ours_keep_10", "ours_keep_all"])
def test_a_share_of_labels_is_overridden_for_unfamiliar_cameras_too(name: str) -> None:
    method = METHODS[name].method
    assert isinstance(method, Ours)
    assert method.settings["keep_share"] == method.settings["keep_share_shifted"]


def test_intrada_aligns_from_easy_photos_to_hard_ones(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[Problem, Any]] = []
    monkeypatch.setattr(intrada, "align_maps", lambda _net, part, _plan, _maps, *, rate, labelled=None: given.append((part, labelled)))
    ranks = torch.arange(4).view(4, 1, 1)
    monkeypatch.setattr(intrada, "rank_and_label", lambda _network, _problem: ([2, 0, 3, 1], ranks))
    METHODS["intrada"].method.adapt(problem)
    (first, _), (second, easy_batch) = given
    assert torch.equal(first.pixels, problem.pixels) and torch.equal(second.pixels, problem.pixels[[1]])
    pixels, labels = easy_batch(0, [0])
    assert set(labels.flatten().tolist()) <= {0, 2, 3} and torch.equal(pixels, problem.pixels[labels.flatten()].float())


@pytest.mark.parametrize(("confident", "averaged"), [(1.1, True), (0.0, False)])
def test_cotta_averages_over_views_where_the_base_is_unsure(
    confident: float, averaged: bool, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    original = cotta.averaged
    monkeypatch.setattr(cotta, "averaged", lambda *given: seen.append(given) or original(*given))
    monkeypatch.setattr(cotta, "CONFIDENT", confident)
    METHODS["cotta"].method.adapt(problem)
    assert bool(seen) == averaged


def test_sar_learns_from_reliable_pixels_only(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    original = sar.reliable_entropy
    monkeypatch.setattr(sar, "reliable_entropy", lambda *given: seen.append(given) or original(*given))
    SAR().adapt(problem)
    middle = float(seen[0][0].detach().median())  # so that some pixels are reliable and some are not
    monkeypatch.setattr(sar, "RELIABLE", middle / math.log(problem.base.classes))
    seen.clear()
    SAR().adapt(problem)
    (first, among), (again, still) = seen[0], seen[1]
    assert torch.equal(among, first < middle) and 0 < among.sum() < among.numel()
    assert torch.equal(still, among & (again < middle))


def test_fda_shows_source_photos_in_the_look_of_the_target(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(fda, "train_two_domains", lambda *_given, labelled, **_named: given.append(labelled))
    METHODS["fda"].method.adapt(problem)
    photos, labels = two_domains.source_batch(problem, 3)
    shown, kept = given[0](3, [1, 0])
    style = problem.pixels[[(1, 0)[index % 2] for index in range(len(photos))]].float()
    assert torch.equal(kept, labels) and torch.equal(shown, swap_low_frequencies(photos, style, fda.BETA))
    assert not torch.equal(shown, photos)
