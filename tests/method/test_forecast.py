import pytest
import torch
from torch import Tensor

from emodc.calibration.posterior import GAP_BINS, fit_gap_model
from emodc.method.draws import spaced_timesteps
from emodc.method.forecast import FREEDOM, Forecast, gap_covariance

DRAWS, TIMESTEPS = 24, 1000


def covariance(seed: int = 0) -> Tensor:
    """Gaps that are larger at small t, alike at close timesteps, and noisy."""
    t = spaced_timesteps(TIMESTEPS, DRAWS).double() / TIMESTEPS
    size = 2 - 1.8 * t
    close = torch.exp(-((t - t.unsqueeze(1)) ** 2) / 0.1)
    order = torch.randperm(DRAWS, generator=torch.Generator().manual_seed(seed))
    return (torch.outer(size, size) * close + 0.3 * torch.eye(DRAWS).double())[order][:, order]


def gaps(images: int, matrix: Tensor, *, heavy: bool, seed: int = 1) -> Tensor:
    """Draw (N, S) gaps, multivariate normal or t."""
    g = torch.Generator().manual_seed(seed)
    root: Tensor = torch.linalg.cholesky(matrix)
    z = torch.randn(images, len(matrix), generator=g).double() @ root.T
    if not heavy:
        return z
    chi = torch.randn(images, int(FREEDOM), generator=g).double().square().sum(dim=1, keepdim=True)
    return z / (chi / FREEDOM).sqrt()


def classes(gap: Tensor) -> Tensor:
    """Two classes with this gap and something large in common: (N, 2, S)."""
    common = 100 * torch.rand(gap.shape, generator=torch.Generator().manual_seed(2)).double()
    return torch.stack([common, common + gap], dim=1)


def test_with_all_draws_the_forecast_is_the_mean() -> None:
    errors = classes(gaps(50, covariance(), heavy=True))
    forecast = Forecast(covariance())
    torch.testing.assert_close(forecast.means(errors), errors.mean(dim=2))
    assert float(forecast.gap_errors(errors[:, 1:] - errors[:, :1]).max()) == 0


@pytest.mark.parametrize("n", [1, 3, 10, 20])
def test_the_forecast_is_the_best_linear_one(n: int) -> None:
    matrix = covariance()
    gap = gaps(40_000, matrix, heavy=False)
    taken, mean = gap[:, :n], gap.mean(dim=1)
    regression = torch.linalg.lstsq(taken, mean.unsqueeze(1)).solution.squeeze(1)
    forecast = Forecast(matrix).means(classes(gap)[:, :, :n])
    off = mean - (forecast[:, 1] - forecast[:, 0])
    least = mean - taken @ regression
    assert float(off.square().mean()) == pytest.approx(float(least.square().mean()), rel=0.02)
    plain = mean - taken.mean(dim=1)
    assert float(off.square().mean()) < 0.9 * float(plain.square().mean())


@pytest.mark.parametrize("n", [2, 6, 15])
def test_standard_errors_hold_for_gaps_of_any_scale(n: int) -> None:
    matrix = covariance()
    gap = gaps(40_000, matrix, heavy=True)
    forecast = Forecast(matrix)
    means = forecast.means(classes(gap)[:, :, :n])
    error = forecast.gap_errors(gap[:, None, :n]).squeeze(1)
    ratio = (gap.mean(dim=1) - (means[:, 1] - means[:, 0])) / error  # t with n + FREEDOM degrees
    freedom = n + FREEDOM
    for part in error.argsort().tensor_split(4):  # small scales and large ones alike
        assert float(ratio[part].var()) == pytest.approx(freedom / (freedom - 2), rel=0.12)


def test_the_fit_finds_the_covariance_whatever_the_scales() -> None:
    t = spaced_timesteps(TIMESTEPS, 2 * GAP_BINS)
    size = torch.linspace(2, 0.2, GAP_BINS).double()
    between = torch.outer(size, size) * 0.7 + 0.1 * torch.eye(GAP_BINS).double()
    within = torch.linspace(0.6, 0.1, GAP_BINS).double()
    gap = gaps(20_000, gap_covariance(between, within, t, TIMESTEPS), heavy=True)
    found_between, found_within = fit_gap_model(gap, t, TIMESTEPS)
    torch.testing.assert_close(found_between, between, rtol=0.08, atol=0.02)
    torch.testing.assert_close(found_within, within, rtol=0.08, atol=0.0)


@pytest.mark.parametrize("steps", [1, 2, 3, 25])
def test_a_fit_from_few_draws_can_be_used(steps: int) -> None:
    t = spaced_timesteps(TIMESTEPS, steps)
    gap = torch.randn(60, steps, generator=torch.Generator().manual_seed(0))
    matrix = gap_covariance(*fit_gap_model(gap, t, TIMESTEPS), t, TIMESTEPS)
    assert float(torch.linalg.eigvalsh(matrix).min()) > 0
    assert bool(Forecast(matrix).means(classes(gap.double())).isfinite().all())
