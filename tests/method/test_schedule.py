import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emodc.method.schedule import (
    EvenLevels,
    LogNormalLevels,
    Schedule,
    ShiftedCosine,
    add_noise,
    level_weights,
    noise_error,
)


@settings(deadline=None)
@given(st.integers(1, 2000), st.floats(0.01, 10.0))
def test_a_cosine_schedule_is_valid_for_any_setting(timesteps: int, median_sigma: float) -> None:
    schedule = ShiftedCosine(timesteps=timesteps, median_sigma=median_sigma).build()
    assert schedule.timesteps == timesteps
    t = torch.arange(timesteps)
    signal, noise = schedule.signal_and_noise(t)
    torch.testing.assert_close(signal**2 + noise**2, torch.ones(timesteps))
    assert bool((schedule.sigma(t).diff() > 0).all())


def test_half_of_the_steps_are_below_the_median_noise_and_t_0_is_nearly_clean() -> None:
    sigma = ShiftedCosine(timesteps=1000, median_sigma=0.3).build().sigma(torch.arange(1000))
    assert float(sigma[499]) < 0.3 < float(sigma[500])
    assert float(sigma[0]) < 0.001 * 0.3
    # The shift is a factor on the noise level, the same at every step (Simple diffusion, 3.1).
    unshifted = ShiftedCosine(timesteps=1000, median_sigma=1.0).build().sigma(torch.arange(1000))
    torch.testing.assert_close(sigma / unshifted, torch.full((1000,), 0.3), rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    "values", [[0.9, 0.9], [0.5, 0.6], [1.0, 0.5], [0.5, 0.0], [[0.9, 0.5]], [0.9, math.nan]]
)
def test_values_that_are_no_schedule_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="strictly decreasing"):
        Schedule(torch.tensor(values, dtype=torch.float64))


@pytest.mark.parametrize(("timesteps", "median_sigma"), [(0, 0.3), (1000, 0.0), (10, -1.0)])
def test_settings_out_of_range_are_refused(timesteps: int, median_sigma: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        ShiftedCosine(timesteps=timesteps, median_sigma=median_sigma)


def test_noised_images_have_the_moments_of_q() -> None:
    schedule = ShiftedCosine(median_sigma=1.0).build()
    x0 = torch.tensor([-1.0, 2.0]).view(2, 1, 1, 1).expand(2, 1, 200, 200)
    t = torch.tensor([200, 700])
    eps = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 1, 200, 200))).float()
    xt = add_noise(schedule, x0, eps, t)
    abar = schedule.alphas_cumprod[t].float()
    torch.testing.assert_close(
        xt.mean(dim=(1, 2, 3)), abar.sqrt() * x0[:, 0, 0, 0], atol=0.02, rtol=0
    )
    torch.testing.assert_close(xt.var(dim=(1, 2, 3)), 1 - abar, atol=0.02, rtol=0)


def test_the_error_is_the_mean_over_elements_per_prompt() -> None:
    eps = torch.zeros(2, 1, 4, 4)
    eps_theta = (
        torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.5, 4.0]]).view(2, 3, 1, 1, 1).expand(2, 3, 1, 4, 4)
    )
    assert noise_error(eps_theta, eps).tolist() == [[1.0, 4.0, 9.0], [0.0, 0.25, 16.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_error_is_taken_in_float32_whatever_the_network_says(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    eps = torch.randn(3, 1, 16, 16, generator=generator)
    eps_theta = torch.randn(3, 2, 1, 16, 16, generator=generator).to(dtype)
    exact = (eps_theta.double() - eps.double().unsqueeze(1)).square().mean(dim=(2, 3, 4))
    found = noise_error(eps_theta, eps)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=0)
    # In the network's own dtype it would be far off, by more than classes differ.
    in_half = (eps_theta - eps.to(dtype).unsqueeze(1)).square().mean(dim=(2, 3, 4))
    assert float((in_half.double() / exact - 1).abs().max()) > 1e-4


def test_even_levels_cover_the_schedule_evenly() -> None:
    schedule = ShiftedCosine(timesteps=10).build()
    u = (torch.arange(40, dtype=torch.float64) + 0.5) / 40
    t = EvenLevels().timesteps(schedule, u, torch.zeros_like(u))
    assert t.bincount().tolist() == [4] * 10


def test_log_normal_levels_have_their_median_and_spread() -> None:
    schedule = ShiftedCosine(timesteps=10_000).build()
    u = (torch.arange(9999, dtype=torch.float64) + 1) / 10_000
    t = LogNormalLevels(median=0.8, spread=0.9).timesteps(schedule, u, torch.ones_like(u))
    log_sigma = schedule.sigma(t).double().log()
    assert math.exp(float(log_sigma.median())) == pytest.approx(0.8, rel=2e-3)
    assert float(log_sigma.std()) == pytest.approx(0.9, rel=1e-2)


def test_a_share_of_log_normal_levels_stays_even() -> None:
    schedule = ShiftedCosine(timesteps=1000).build()
    u = torch.full((4,), 0.25, dtype=torch.float64)
    which = torch.tensor([0.0, 0.39, 0.4, 0.9], dtype=torch.float64)
    t = LogNormalLevels(even=0.4).timesteps(schedule, u, which)
    assert t[:2].tolist() == [250, 250]
    assert (t[2:] > 500).all()


def test_levels_beyond_the_schedule_are_its_last() -> None:
    schedule = ShiftedCosine(timesteps=50, median_sigma=0.01).build()
    u = torch.tensor([0.0, 1 - 1e-12], dtype=torch.float64)
    t = LogNormalLevels(median=100).timesteps(schedule, u, torch.ones(2, dtype=torch.float64))
    assert int(t[1]) == 49
    assert t.min() >= 0


@pytest.mark.parametrize(
    "numbers", [{"median": 0.0}, {"spread": -1.0}, {"even": 1.5}, {"median": math.inf}]
)
def test_impossible_levels_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="median and spread"):
        LogNormalLevels(**numbers)  # type: ignore[arg-type]


def test_weighted_by_v_the_error_of_eps_is_the_error_of_v() -> None:
    """``v = sqrt(abar) eps - sqrt(1 - abar) x0`` and xt fix each other's errors."""
    schedule = ShiftedCosine().build()
    t = torch.arange(0, 900, 50)
    g = torch.Generator().manual_seed(0)
    xt, v, other = (torch.randn(len(t), 1, 4, 4, generator=g) for _ in range(3))
    signal, noise = (x.view(-1, 1, 1, 1) for x in schedule.signal_and_noise(t))
    eps, predicted = noise * xt + signal * v, noise * xt + signal * other
    d = noise_error(predicted.unsqueeze(1), eps)[:, 0] * level_weights(schedule, t, "v")
    torch.testing.assert_close(d, (other - v).square().mean(dim=(1, 2, 3)), rtol=1e-3, atol=1e-3)
    assert (level_weights(schedule, t, "eps") == 1).all()
    last = torch.tensor([schedule.timesteps - 1])
    assert float(level_weights(schedule, last, "v")) == 400
