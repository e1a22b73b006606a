import pytest
import torch
from torch import Tensor

from emodc.method.ddim import Denoiser, ddim, descending_timesteps
from emodc.method.randomness import standard_normal
from emodc.method.schedule import Schedule, ShiftedCosine


def schedule() -> Schedule:
    return ShiftedCosine(median_sigma=0.7).build()


def gaussian(of: Schedule, mean: Tensor, variance: Tensor) -> Denoiser:
    """The exact denoiser where x0 has independent normal pixels: E[eps | xt]."""

    def denoiser(xt: Tensor, t: Tensor) -> Tensor:
        signal, noise = (v.view(-1, 1, 1, 1) for v in of.signal_and_noise(t))
        return noise * (xt - signal * mean) / (signal**2 * variance + noise**2)

    return denoiser


@pytest.mark.parametrize(("timesteps", "steps"), [(1000, 50), (1000, 7), (10, 10), (10, 1)])
def test_timesteps_start_where_noise_ends(timesteps: int, steps: int) -> None:
    visited = descending_timesteps(timesteps, steps)
    assert visited[0] == timesteps - 1
    assert len(visited) == steps
    strides = -visited.diff()
    if steps > 1:
        assert strides.max() - strides.min() <= 1
        assert strides.min() >= 1
    assert 0 <= visited[-1] < timesteps / steps


@pytest.mark.parametrize("steps", [0, 1001])
def test_impossible_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1000"):
        descending_timesteps(1000, steps)


def test_a_gaussian_world_is_reproduced() -> None:
    mean = torch.tensor([[[-1.0, 0.5], [0.0, 2.0]]])
    variance = torch.tensor([[[0.01, 0.25], [1.0, 4.0]]])
    noise = standard_normal(0, 1, list(range(4000)), (1, 2, 2))
    x0 = ddim(gaussian(schedule(), mean, variance), schedule(), noise, steps=500)
    # Without any randomness, each pixel is its noise at its own mean and deviation.
    torch.testing.assert_close(x0, mean + variance.sqrt() * noise, atol=0.02, rtol=0.02)
    torch.testing.assert_close(x0.mean(dim=0), mean, atol=0.1, rtol=0)
    torch.testing.assert_close(x0.var(dim=0), variance, atol=1e-3, rtol=0.08)


def test_more_steps_come_closer() -> None:
    mean, variance = torch.zeros(1, 1, 1), torch.full((1, 1, 1), 0.25)
    noise = torch.ones(1, 1, 1, 1)
    denoiser = gaussian(schedule(), mean, variance)
    errors = [float((ddim(denoiser, schedule(), noise, n) - 0.5).abs()) for n in (5, 20, 80, 320)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.01


def test_a_single_image_is_found_in_one_step() -> None:
    only = torch.linspace(-1, 1, 4).view(1, 2, 2)
    noise = standard_normal(0, 1, [0, 1], (1, 2, 2))
    for steps in (1, 10):
        x0 = ddim(gaussian(schedule(), only, torch.zeros(1)), schedule(), noise, steps)
        torch.testing.assert_close(x0, only.expand(2, -1, -1, -1), atol=1e-3, rtol=1e-3)
