import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from emodc.attacks.victims import predictions
from emodc.backbones.face_unet import FaceUNet
from emodc.experiments.robustness.subjects import ModelSubject
from emodc.inference.victim import diffusion_victim
from emodc.method.draws import DrawBank
from emodc.method.errors import posterior
from emodc.model.decision import Decision, NoiseFloor
from emodc.model.label_shift import with_prior
from emodc.model.model import Model
from emodc.model.prior import ClassPrior

STEPS = 5


def pixels(number: int = 3) -> Tensor:
    return torch.rand(number, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def weighted(model: Model, floor: NoiseFloor | None = None) -> Model:
    """The model with fitted weights of the timesteps and a power; it may account for noise."""
    decision = Decision(
        scale=30.0, power=0.7, weights=(1.5, 1.0, 0.5), mirror=True, noise_floor=floor
    )
    return Model(**{**vars(model), "decision": decision})


FLOORS = [None, NoiseFloor(texture=0.2, least=0.3)]
"""The pixels are noise, so with the second one they are not taken for clean."""


@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize("pairs", [96, 4])
def test_the_logits_are_the_deployed_rule(
    tiny_model: Model, pairs: int, floor: NoiseFloor | None
) -> None:
    model, x = weighted(tiny_model, floor), pixels()
    bank = model.draws(STEPS, seed=3)
    x0 = model.settings.codec.to_x0(255 * x)
    errors = model.class_errors(x0, bank)
    weights = model.decision.weights_at(bank.t, model.schedule.timesteps)
    p = posterior(errors, model.decision.scale, weights)
    logits = diffusion_victim(model, STEPS, pairs).answer(x, 3)
    torch.testing.assert_close(torch.softmax(logits, dim=1), p, rtol=1e-3, atol=1e-6)
    deployed = posterior(errors, model.decision.scale, weights, model.decision.power)
    assert logits.argmax(dim=1).tolist() == deployed.argmax(dim=1).tolist()


@pytest.mark.parametrize("floor", FLOORS)
@pytest.mark.parametrize("pairs", [96, 7, 1])
def test_the_gradient_agrees_with_finite_differences(
    tiny_model: Model, pairs: int, floor: NoiseFloor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # the whole chain in float64
    model = Model(
        **{
            **vars(weighted(tiny_model, floor)),
            "backbone": copy.deepcopy(tiny_model.backbone).double(),
        }
    )
    victim, x = diffusion_victim(model, STEPS, pairs), pixels().double()
    g = torch.Generator().manual_seed(1)
    mix = torch.randn(3, 7, generator=g, dtype=torch.float64)

    def value(at: Tensor) -> Tensor:
        return (victim.answer(at, 2) * mix).sum(dim=1)

    asked = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(asked).sum(), asked)
    for _ in range(3):
        way = torch.randn(x.shape, generator=g, dtype=torch.float64)
        difference = (value(x + 1e-5 * way) - value(x - 1e-5 * way)) / 2e-5
        predicted = (gradient * way).sum(dim=(1, 2, 3))
        torch.testing.assert_close(difference, predicted, rtol=1e-5, atol=1e-5)
        assert float(predicted.abs().min()) > 1e-3


def test_what_is_kept_for_the_way_back_does_not_grow_with_the_draws(tiny_model: Model) -> None:
    kept: list[dict[int, int]] = []  # bytes by address: what is shared counts once

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[-1][storage.data_ptr()] = storage.nbytes()
        return tensor

    for steps in (6, 60):
        kept.append({})
        victim, asked = diffusion_victim(tiny_model, steps, pairs=5), pixels(1).requires_grad_()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = victim.answer(asked, 0)
        torch.autograd.grad(logits[0, 0], asked)
    # A weight and K errors in float64 for each draw, but no image and no activation.
    few, many = (sum(storages.values()) for storages in kept)
    assert many - few < 54 * 10 * 8


def test_calls_of_the_network_are_bounded(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    predict = FaceUNet.predict_noise

    def counting(self: FaceUNet, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        sizes.append(len(xt))
        return predict(self, xt, t, prompts)

    monkeypatch.setattr(FaceUNet, "predict_noise", counting)
    asked = pixels().requires_grad_()
    torch.autograd.grad(diffusion_victim(tiny_model, STEPS, pairs=4).answer(asked, 0).sum(), asked)
    assert max(sizes) <= 4
    assert sum(sizes) == 2 * 3 * STEPS  # once forward, once more on the way back
    sizes.clear()
    torch.autograd.grad(diffusion_victim(tiny_model, STEPS, pairs=15).answer(asked, 0).sum(), asked)
    assert sizes == [15]


def test_neither_neighbors_nor_the_model_are_touched(tiny_model: Model) -> None:
    victim, x = diffusion_victim(tiny_model, STEPS, pairs=4), pixels()
    alone = torch.cat([victim.answer(row.unsqueeze(0), 1) for row in x])
    torch.testing.assert_close(victim.answer(x, 1), alone, rtol=1e-4, atol=1e-4)
    assert not torch.equal(victim.answer(x, 1), victim.answer(x, 2))
    assert all(
        weight.requires_grad and weight.grad is None for weight in tiny_model.backbone.parameters()
    )


def test_a_bank_of_draws_is_made_once_for_all_queries(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    draws = Model.draws

    def counting(self: Model, steps: int, seed: int = 0) -> DrawBank:
        asked.append(seed)
        return draws(self, steps, seed)

    monkeypatch.setattr(Model, "draws", counting)
    victim = diffusion_victim(tiny_model, STEPS)
    for seed in (3, 3, 4, 3):
        victim.answer(pixels(), seed)
    assert asked == [3, 4]


def test_predictions_are_one_a_seed(tiny_model: Model) -> None:
    victim, x = diffusion_victim(tiny_model, STEPS, pairs=4 * STEPS + 1), pixels(6)
    assert victim.batch == 4
    answers = predictions(victim, x, [4, 5])
    assert answers.shape == (6, 2)
    assert answers[:, 1].tolist() == victim.answer(x, 5).argmax(dim=1).tolist()


@pytest.mark.parametrize("prior", ["uniform", "effective", "happiness=0.5,fear=0.3,anger=0.2"])
def test_attacks_see_the_prior(tiny_model: Model, prior: str) -> None:
    shares = (0.4, 0.3, 0.1, 0.1, 0.05, 0.04, 0.01)
    known = ClassPrior(training=shares, effective=shares, nats=5.0)
    decision = Decision(scale=5.0, prior=known)
    subject = ModelSubject(with_prior(replace(tiny_model, decision=decision), prior), 3, "tiny")
    crops = [np.random.default_rng(n).integers(0, 256, (16, 16), np.uint8) for n in range(6)]
    pixels = subject.pixels(crops).requires_grad_()
    logits = subject.victim().answer(pixels, 0)
    answered, _ = subject.answers(crops, 0)
    torch.testing.assert_close(torch.softmax(logits, dim=1), answered, atol=1e-4, rtol=1e-3)
    assert logits.shape[1] == len(subject.label_set)
    (slope,) = torch.autograd.grad(logits[:, 0].sum(), pixels)
    assert float(slope.abs().sum()) > 0
