import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from emodc.method.noise_level import diagonal_detail, observe

TEXTURE, LEAST = 0.15, 0.28


def smooth(count: int = 40) -> Tensor:
    """Images without fine detail, of mean 0 and variance 1: (N, 1, 48, 48)."""
    place = torch.linspace(0, 2 * math.pi, 48)
    phase = torch.rand(count, 1, 1, generator=torch.Generator().manual_seed(0)) * 6
    images = torch.sin(place.view(1, -1, 1) + phase) + torch.cos(2 * place.view(1, 1, -1) - phase)
    return standardized(images.unsqueeze(1))


def standardized(x: Tensor) -> Tensor:
    centered = x - x.mean(dim=(1, 2, 3), keepdim=True)
    return centered / centered.std(dim=(1, 2, 3), keepdim=True, correction=0)


def noise_like(x: Tensor, seed: int = 1) -> Tensor:
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))


@given(level=st.floats(0.1, 2.0))
def test_white_noise_has_its_own_deviation_as_detail(level: float) -> None:
    noise = level * noise_like(torch.empty(4, 1, 48, 48))
    assert diagonal_detail(noise).tolist() == pytest.approx([level] * 4, rel=0.1)


@pytest.mark.parametrize("sigma", [0.4, 0.8, 1.5])
def test_the_level_of_added_noise_is_found_and_the_image_scaled_back(sigma: float) -> None:
    x0 = smooth()
    noise = sigma * noise_like(x0)
    seen, level = observe(standardized(x0 + noise), 0.0, LEAST)
    assert level.tolist() == pytest.approx([sigma] * len(x0), rel=0.25)
    assert float(level.mean()) == pytest.approx(sigma, rel=0.05)
    # What is no noise has the scale of x0 again.
    share = (seen * x0).mean(dim=(1, 2, 3)) / (x0 * x0).mean(dim=(1, 2, 3))
    assert float(share.mean()) == pytest.approx(1, abs=0.05)


def test_texture_is_not_taken_for_noise() -> None:
    x0 = smooth() + 0.15 * noise_like(smooth())
    noisy = standardized(x0 + 0.4 * noise_like(x0, 2))
    with_texture = observe(noisy, TEXTURE, LEAST)[1].mean()
    assert float(with_texture) == pytest.approx(0.4, rel=0.08)
    assert with_texture < observe(noisy, 0.0, LEAST)[1].mean()


def test_a_clean_image_stays_as_it_is() -> None:
    x0 = smooth()
    seen, sigma = observe(x0, TEXTURE, LEAST)
    assert torch.equal(seen, x0)
    assert not bool(sigma.any())


def test_outliers_count() -> None:
    x0 = smooth()
    chance = torch.rand(x0.shape, generator=torch.Generator().manual_seed(3))
    peppered = torch.where(chance < 0.03, torch.full_like(x0, -3.0), x0)
    assert bool((observe(standardized(peppered), TEXTURE, LEAST)[1] > 0.3).all())


def test_nothing_but_noise_is_still_a_finite_level_with_a_gradient() -> None:
    x0 = standardized(noise_like(torch.empty(3, 1, 48, 48))).requires_grad_()
    seen, sigma = observe(x0, TEXTURE, LEAST)
    assert bool((sigma > 2).all())
    torch.autograd.backward(seen.sum() + sigma.sum())
    assert x0.grad is not None
    assert bool(x0.grad.isfinite().all())


def test_the_level_has_the_gradient_of_the_image() -> None:
    x0 = standardized(smooth(2) + 0.6 * noise_like(smooth(2))).double().requires_grad_()
    _, sigma = observe(x0, TEXTURE, LEAST)
    torch.autograd.backward(sigma.sum())
    assert x0.grad is not None
    direction = noise_like(x0, 4).double()
    step = 1e-2
    after = observe((x0 + step * direction).detach(), TEXTURE, LEAST)[1].sum()
    before = observe((x0 - step * direction).detach(), TEXTURE, LEAST)[1].sum()
    slope = float((after - before) / (2 * step))
    assert slope == pytest.approx(float((x0.grad * direction).sum()), rel=1e-2)
