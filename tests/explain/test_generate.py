from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emodc.explain.generate import SAMPLERS, generate, guided, interpolate
from emodc.method.randomness import standard_normal
from emodc.model.model import Model


def test_guidance_goes_from_no_prompt_through_the_prompt_and_beyond(tiny_model: Model) -> None:
    xt = standard_normal(0, 1, [0, 1], (1, 16, 16))
    t, prompts = torch.tensor([300, 300]), torch.tensor([1, 3])
    with torch.no_grad():
        none, alone, twice = (guided(tiny_model, prompts, w)(xt, t) for w in (0.0, 1.0, 2.0))
        named = tiny_model.predict_noise(xt, t, prompts.unsqueeze(1))[:, 0]
        null = tiny_model.predict_noise(xt, t, torch.full((2, 1), 7))[:, 0]
    torch.testing.assert_close(alone, named)
    torch.testing.assert_close(none, null)
    assert (named - null).abs().max() > 1e-4
    torch.testing.assert_close(twice - named, named - null, atol=1e-5, rtol=1e-4)


def test_images_depend_on_seed_and_number_alone(tiny_model: Model) -> None:
    told: list[tuple[int, int]] = []
    few = generate(tiny_model, [1], 2, steps=2, progress=lambda *now: told.append(now))
    many = generate(tiny_model, [4, 1], 3, steps=2)
    assert few.shape == (1, 2, 1, 16, 16)
    # Kernels differ by batch shape; guidance at high noise multiplies what they round.
    torch.testing.assert_close(few[0], many[1, :2], atol=1e-4, rtol=1e-4)
    assert told == [(1, 2), (2, 2)]
    other = generate(tiny_model, [1], 2, steps=2, seed=1)
    assert (other - few).abs().mean() > 0.1


def test_a_column_begins_with_the_same_noise(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    ask = Model.predict_noise

    def watched(self: Model, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        seen.append(xt)
        return ask(self, xt, t, prompts)

    monkeypatch.setattr(Model, "predict_noise", watched)
    generate(tiny_model, [0, 5], 2, steps=1)
    assert torch.equal(seen[0][:2], seen[0][2:])
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_way_between_two_classes_begins_and_ends_with_them(tiny_model: Model) -> None:
    for guidance in (1.0, 2.5):
        way = interpolate(tiny_model, 1, 4, [0.0, 0.5, 1.0], 2, steps=3, guidance=guidance)
        ends = generate(tiny_model, [1, 4], 2, steps=3, guidance=guidance)
        torch.testing.assert_close(way[[0, 2]], ends, atol=1e-4, rtol=1e-4)
        assert (way[1] - way[0]).abs().max() > 1e-3 < (way[1] - way[2]).abs().max()


def test_a_mixture_predicts_the_weighted_mean(tiny_model: Model) -> None:
    xt, t = standard_normal(0, 1, [0, 1], (1, 16, 16)), torch.tensor([300, 600])
    prompts = torch.tensor([[1, 3], [0, 6]])
    weights = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    with torch.no_grad():
        each = tiny_model.predict_noise(xt, t, prompts)
        null = tiny_model.predict_noise(xt, t, torch.full((2, 1), 7))[:, 0]
        mixed = guided(tiny_model, prompts, 2.0, weights)(xt, t)
    mean = torch.stack([0.25 * each[0, 0] + 0.75 * each[0, 1], each[1].mean(dim=0)])
    torch.testing.assert_close(mixed, 2 * mean - null, atol=1e-5, rtol=1e-4)


def test_samplers_agree_at_many_steps_and_differ_at_few(tiny_model: Model) -> None:
    few, many = (
        [generate(tiny_model, [1], 1, steps=steps, sampler=name) for name in SAMPLERS]
        for steps in (5, 100)
    )
    assert (few[0] - few[1]).abs().mean() > 2 * (many[0] - many[1]).abs().mean() > 0


def test_wrong_numbers_are_refused(tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="count must be at least 1"):
        generate(tiny_model, [0], 0)
    with pytest.raises(ValueError, match="finite"):
        generate(tiny_model, [0], 1, guidance=float("inf"))
    with pytest.raises(ValueError, match="one of ddim, dpm-solver, not 'euler'"):
        generate(tiny_model, [0], 1, sampler="euler")


def test_stable_diffusion_draws_in_color(sd_folder: Path) -> None:
    from tests.backbones.stable_diffusion.test_models import (
        make,
    )  # needs the extra sd, without which the fixture skips

    model = make(sd_folder, "lora")
    x0 = generate(model, [1, 3], 2, steps=2, guidance=3.0)
    assert x0.shape == (2, 2, 4, 8, 8)
    images = model.settings.codec.decode(x0.flatten(0, 1))
    assert images.shape == (4, 16, 16, 3)
    assert images.dtype == np.uint8
    assert not np.array_equal(images[0], images[2])
