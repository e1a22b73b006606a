"""What calibration promises, on new images under each prior."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from emodc.calibration.calibrate import fit_decision
from emodc.calibration.posterior import fit_prior
from emodc.calibration.stopping import Half
from emodc.evaluation.metrics import calibration_error
from emodc.labels import LabelSet
from emodc.method.draws import spaced_timesteps
from emodc.method.label_shift import estimate_prior
from emodc.method.sequential import draw_order
from emodc.method.stopping import simulate
from emodc.model.decision import Decision
from emodc.model.held_out import HeldOut
from emodc.model.label_shift import with_prior
from emodc.model.model import Model

STEPS, T = 20, 1000
CLASSES = LabelSet("three", ("neutral", "anger", "fear"))
COMMON = (0.7, 0.2, 0.1)
LEFT = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)  # what training left in the errors
NATS = 30.0
PRIORS = ("training", "uniform", "balanced-power=0.5", "anger=0.2,fear=0.6,neutral=0.2")


def world(images: int, shares: tuple[float, ...], seed: int) -> Half:
    """Errors of Gaussian classes, whose posterior at 30 nats has the prior LEFT."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(torch.tensor(shares), images, replacement=True, generator=g)
    means = torch.tensor([[0.0, 0.0], [1.5, 0.0], [0.0, 2.0]], dtype=torch.float64)
    x = means[labels] + torch.randn(images, 2, generator=g, dtype=torch.float64)
    evidence = -(x.unsqueeze(1) - means).square().sum(dim=2) / 2 + LEFT.log()
    noise = 0.05 * torch.randn(images, 3, STEPS, generator=g)
    noise = noise - noise.mean(dim=2, keepdim=True)  # all draws together say what there is to say
    return Half((0.5 - evidence.unsqueeze(2) / NATS + noise).float(), labels)


@pytest.fixture(scope="module")
def calibrated(tiny_model: Model) -> Model:
    decision = fit_decision(Decision(scale=1.0), world(800, COMMON, 0), T, 2, 0.95, 0.9)
    hold = world(1200, COMMON, 1)
    held_out = HeldOut.of(hold.errors, hold.labels)
    return replace(
        tiny_model,
        label_set=CLASSES,
        decision=held_out.certify(decision, T),
        held_out=held_out,
    )


@pytest.fixture(params=PRIORS)
def shifted(calibrated: Model, request: pytest.FixtureRequest) -> tuple[Model, Half]:
    """The model under a prior, and new images of that prior."""
    model = with_prior(calibrated, request.param)
    assert model.decision.prior is not None
    return model, world(6000, model.decision.prior.answered, 2)


def test_what_training_left_is_found() -> None:
    many = world(20_000, COMMON, 3)
    nats, left = fit_prior(many.errors.mean(dim=2), many.labels)
    assert nats == pytest.approx(NATS, rel=0.05)
    torch.testing.assert_close(left, LEFT, atol=0.02, rtol=0)
    few = world(30, COMMON, 3)
    _, guessed = fit_prior(few.errors.mean(dim=2), few.labels, LEFT)
    torch.testing.assert_close(guessed, LEFT, atol=0.15, rtol=0)  # few images stay at what is known


def test_probabilities_are_calibrated(shifted: tuple[Model, Half]) -> None:
    model, new = shifted
    p = model.decision.probabilities(new.errors, spaced_timesteps(T, STEPS), T)
    assert calibration_error(p, new.labels) < 0.05


def test_a_prior_beats_the_wrong_one(calibrated: Model) -> None:
    new = world(6000, (0.1, 0.1, 0.8), 2)
    t = spaced_timesteps(T, STEPS)
    right = []
    for prior in ("training", {"neutral": 0.1, "anger": 0.1, "fear": 0.8}):
        logits = with_prior(calibrated, prior).decision.logits(new.errors, t, T)
        right.append(float((logits.argmax(dim=1) == new.labels).double().mean()))
    assert right[1] > right[0] + 0.05


def test_sets_cover_as_promised(shifted: tuple[Model, Half]) -> None:
    model, new = shifted
    least = model.decision.least_probability
    assert least is not None
    p = model.decision.probabilities(new.errors, spaced_timesteps(T, STEPS), T)
    held = (p >= torch.tensor(least).double())[torch.arange(len(p)), new.labels]
    assert 0.87 < float(held.double().mean()) < 0.96


def test_early_stopping_keeps_delta(shifted: tuple[Model, Half]) -> None:
    model, new = shifted
    decision = model.decision
    assert decision.adaptive is not None
    t = spaced_timesteps(T, STEPS)
    final = decision.logits(new.errors, t, T).argmax(dim=1)
    ones, draws = torch.ones(STEPS), []
    for stop in decision.adaptive.stops:
        rule = decision.rule(stop, t, T, draw_order(STEPS), 3)
        outcome = simulate(new.errors, ones, rule, decision.adaptive.block)
        # 95 % confidence, and 6,000 images to tell: what is seen may exceed delta by little.
        assert float((outcome.label != final).double().mean()) < 1.15 * stop.delta + 0.002
        assert calibration_error(stop.probabilities(outcome.gaps), new.labels) < 0.06
        draws.append(float(outcome.draws.double().mean()))
    assert min(draws) < 0.75 * STEPS  # and it is worth something


def test_the_promise_is_broken_without_the_weights(calibrated: Model) -> None:
    """What is certified for the training prior does not hold for another: so weights are needed."""
    skewed = {"neutral": 0.02, "anger": 0.49, "fear": 0.49}
    new = world(6000, tuple(skewed.values()), 2)
    t = spaced_timesteps(T, STEPS)
    held = []
    for certified in (calibrated, with_prior(calibrated, skewed)):
        asked = with_prior(calibrated, skewed).decision
        deciding = asked.model_copy(
            update={"least_probability": certified.decision.least_probability}
        )
        assert deciding.least_probability is not None
        inside = deciding.probabilities(new.errors, t, T) >= torch.tensor(
            deciding.least_probability
        )
        held.append(float(inside[torch.arange(6000), new.labels].double().mean()))
    assert abs(held[0] - 0.9) > abs(held[1] - 0.9)


def test_fewer_classes_are_certified_among_themselves(calibrated: Model) -> None:
    model = with_prior(calibrated, classes=["angry", "fear"])
    assert model.answers.classes == ("anger", "fear")
    new = world(6000, (0.0, 2 / 3, 1 / 3), 2)
    p = model.decision.probabilities(new.errors, spaced_timesteps(T, STEPS), T)
    assert p.shape == (6000, 2)
    least = model.decision.least_probability
    assert least is not None
    assert least[0] == 1.0
    held = (p >= torch.tensor(least[1:]).double())[torch.arange(6000), new.labels - 1]
    assert float(held.double().mean()) > 0.87


def test_without_held_out_images_nothing_is_promised(
    calibrated: Model, caplog: pytest.LogCaptureFixture
) -> None:
    old = replace(calibrated, held_out=None)
    model = with_prior(old, "uniform")
    assert model.decision.adaptive is None
    assert model.decision.least_probability is None
    assert "calibrate it again" in caplog.text
    assert with_prior(old, "training") is old
    left = with_prior(old, "effective")
    assert left.decision.prior is not None
    assert left.decision.prior.asked is None
    assert with_prior(left, "effective") is left
    unknown = replace(old, decision=Decision(scale=1.0))
    with pytest.raises(ValueError, match="run emodc calibrate on it"):
        with_prior(unknown, "uniform")
    with pytest.raises(ValueError, match="fewer than two classes"):
        with_prior(unknown, classes=["anger"])
    with pytest.raises(ValueError, match="unknown class 'joy'"):
        with_prior(unknown, classes=["anger", "joy"])


def test_the_prior_of_new_images_is_estimated(calibrated: Model) -> None:
    shares = (0.2, 0.2, 0.6)
    new = world(6000, shares, 4)
    p = calibrated.decision.probabilities(new.errors, spaced_timesteps(T, STEPS), T)
    assert calibrated.decision.prior is not None
    answered: Tensor = torch.tensor(calibrated.decision.prior.answered).double()
    found = estimate_prior(p, answered)
    torch.testing.assert_close(found, torch.tensor(shares).double(), atol=0.04, rtol=0)
