from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from emodc.explain.generate import generate, guided
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


def test_wrong_numbers_are_refused(tiny_model: Model) -> None:
    with pytest.raises(ValueError, match="count must be at least 1"):
        generate(tiny_model, [0], 0)
    with pytest.raises(ValueError, match="finite"):
        generate(tiny_model, [0], 1, guidance=float("inf"))


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
