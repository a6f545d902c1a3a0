"""Training on source photos and the user's: which layer learns at which rate, and what the target's loss is, by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.survey import cbst, fda, maxsquare, two_domains
from benchmarks.survey.interface import Problem
from benchmarks.survey.loop import Plan, copied, norms
from benchmarks.survey.methods import METHODS
from benchmarks.survey.two_domains import Step, classifiers, train_two_domains
from models.bases.registry import available_bases

CLASSIFIERS = {
    "espnetv2": {"pool2.out"},
    "espnetv2_tiny": {"pool2.out"},
    "lraspp_mobilenet_v3_large": {"network.classifier.low_classifier", "network.classifier.high_classifier"},
    "deeplabv3_resnet50": {"network.classifier.4"},
    "deeplabv3_resnet101": {"network.classifier.4"},
    "pspnet_resnet50": {"classify"},
}
TEN_TIMES = [name for name in METHODS if name.removesuffix("_kind") in ("minent", "maxsquare", "advent", "adaptsegnet", "fda", "intrada")]


class SGD(torch.optim.SGD):
    """torch's, remembered: every optimizer, and the rates of its two groups at every step."""

    made: list["SGD"] = []  # noqa: RUF012

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.seen: list[tuple[float, ...]] = []
        self.made.append(self)

    @property
    def rates(self) -> tuple[float, ...]:
        return tuple(group["lr"] for group in self.param_groups)

    def step(self, *given: Any) -> None:
        self.seen.append(self.rates)
        super().step(*given)


@pytest.fixture
def optimizers(monkeypatch: pytest.MonkeyPatch) -> list[SGD]:
    monkeypatch.setattr(SGD, "made", [])
    monkeypatch.setattr(torch.optim, "SGD", SGD)
    return SGD.made


def no_loss(step: Step) -> Tensor:
    return 0.0 * step.target.sum()


@pytest.mark.parametrize("info", [pytest.param(info, id=info.name) for info in available_bases()])
def test_the_classifier_of_every_base(info: Any) -> None:
    with torch.device("meta"):
        network = info.network()
    names = {module: name for name, module in network.named_modules()}
    assert {names[module] for module in classifiers(network, len(info.class_names))} == CLASSIFIERS[info.name]


def test_a_network_without_a_classifier_is_told() -> None:
    with pytest.raises(ValueError, match="no convolution of Sequential ends in 7 classes"):
        classifiers(nn.Sequential(nn.Conv2d(3, 8, 1)), 7)


def test_the_classifier_moves_ten_times_as_far_in_the_first_step(problem: Problem) -> None:
    start, moved = problem.base.segmenter.base.state_dict(), []
    for head_rate in (1.0, 10.0):
        network, plan = copied(problem), Plan(replace(problem, batch_size=4), 1)
        train_two_domains(network, problem, plan, rate=1e-3, weight_decay=5e-4, target_loss=no_loss, head_rate=head_rate)
        assert plan.done == 1
        moved.append({name: value - start[name] for name, value in network.state_dict().items()})
    once, ten_times = moved
    assert float(once["pool2.out.weight"].abs().max()) > 0
    for name, value in once.items():
        factor = 10 if name.startswith("pool2.out.") else 1
        assert torch.allclose(ten_times[name], factor * value, rtol=1e-3, atol=1e-6), name


def test_both_rates_decay_by_hand(problem: Problem, optimizers: list[SGD]) -> None:
    train_two_domains(copied(problem), problem, Plan(problem, 1), rate=2.5e-4, weight_decay=0.0, target_loss=no_loss, head_rate=10.0)
    (optimizer,) = optimizers
    half = 0.5358867  # (1 - 1/2) ** 0.9
    assert optimizer.seen == [pytest.approx((2.5e-4, 2.5e-3)), pytest.approx((2.5e-4 * half, 2.5e-3 * half), rel=1e-5)]


@pytest.mark.parametrize("name", [*TEN_TIMES, "cbst"])
def test_the_rates_of_a_method(name: str, problem: Problem, optimizers: list[SGD]) -> None:
    METHODS[name].method.adapt(replace(problem, budget_seconds=0.0))
    expected = (1e-4, 1e-4) if name == "cbst" else (2.5e-4, 2.5e-3)
    times = {"intrada": 2, "intrada_kind": 2}.get(name, 1)  # both of IntraDA's networks
    assert [optimizer.rates for optimizer in optimizers] == [pytest.approx(expected)] * times
    classes, channels = 21, optimizers[0].param_groups[1]["params"][0].shape[1]
    assert [tuple(value.shape) for value in optimizers[0].param_groups[1]["params"]] == [(classes, channels, 1, 1), (classes,)]


def test_all_twelve_rows_are_there() -> None:
    assert len(TEN_TIMES) == 12


def caught(monkeypatch: pytest.MonkeyPatch, module: Any, problem: Problem, name: str) -> tuple[Plan, Callable[[Step], Tensor]]:
    """The plan and the target's loss that a method trains with."""
    found: list[Any] = []
    monkeypatch.setattr(module, "train_two_domains", lambda network, given, plan, **named: found.extend((plan, named["target_loss"])))
    METHODS[name].method.adapt(problem)
    return found[0], found[1]


def step_of(logits: Tensor) -> Step:
    return Step([0], logits, logits)


def test_the_loss_of_maxsquare_by_hand(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    _, loss = caught(monkeypatch, maxsquare, problem, "maxsquare")
    # all classes alike: the two pixels, both of class 0, weigh 1/2 and have Σ p² = 1/21: −0.1 · (1/21) / 21
    assert float(loss(step_of(torch.zeros(1, 21, 1, 2)))) == pytest.approx(-0.1 / 441)
    # certain, three pixels of class 0 and one of class 1: weights 3^−0.2 / 4^0.8 and 1 / 4^0.8, Σ w·p² = (3^0.8 + 1) / 4^0.8 = 1.124298
    certain = torch.zeros(1, 21, 1, 4)
    certain[0, [0, 0, 0, 1], 0, [0, 1, 2, 3]] = 60.0
    assert float(loss(step_of(certain))) == pytest.approx(-0.1 * 1.124298 / 21, rel=1e-5)
    # the mean over images
    assert float(loss(step_of(certain.repeat(3, 1, 1, 1)))) == pytest.approx(-0.1 * 1.124298 / 21, rel=1e-5)


def test_maxsquare_s_norms_learn_but_for_the_first(problem: Problem) -> None:
    def learning(network: nn.Module) -> list[bool]:
        return [bool(norm.weight.requires_grad and norm.bias.requires_grad) for norm in norms(network)]

    count = len(norms(problem.base.segmenter.base))
    assert learning(copied(problem, frozen_statistics=False, affine_learns=True)) == [False] + [True] * (count - 1)
    assert learning(copied(problem, frozen_statistics=False)) == [False] * count
    assert learning(copied(problem)) == [True] * count


def test_fda_s_entropy_comes_after_half_of_the_steps(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, loss = caught(monkeypatch, fda, problem, "fda")
    assert plan.steps == 4
    found = []
    for done in range(4):
        plan.done = done
        found.append(loss(step_of(torch.zeros(1, 21, 2, 2))))
    # entropy / log K = 1: 0.005 · (1² + 0.001²)²; released: i > 50,000 of i = 0 … 100,000
    assert found[:3] == [None] * 3
    assert float(found[3]) == pytest.approx(0.005 * 1.000002)


def test_a_later_round_has_orders_and_numbers_of_its_own(problem: Problem) -> None:
    first, second = (list(Plan(problem, 2, earlier=earlier)) for earlier in (0, 2))
    both = list(Plan(problem, 4))
    assert first + second == both
    assert [number for number, _ in both] == list(range(8))


def test_the_rounds_of_cbst_see_different_source_batches(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    original = two_domains.source_batch
    monkeypatch.setattr(two_domains, "source_batch", lambda given, number: (asked.append(number), original(given, number))[1])
    rates: list[float] = []
    optimize = cbst.train_two_domains
    monkeypatch.setattr(
        cbst, "train_two_domains", lambda network, given, plan, **named: (rates.append(plan.done), optimize(network, given, plan, **named))
    )
    METHODS["cbst"].method.adapt(replace(problem, epochs=4))  # two rounds of two passes of two batches
    assert asked == list(range(8))
    assert rates == [0, 0]  # the decay begins anew in each
