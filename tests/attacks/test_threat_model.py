import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emodc.attacks.threat_model import NORMS, Ball, Images, Norm, distances, full_range


def ball(norm: Norm, eps: float, dtype: torch.dtype = torch.float32, seed: int = 0) -> Ball:
    g = torch.Generator().manual_seed(seed)
    center = torch.rand(3, 2, 6, 5, generator=g).round(decimals=1).to(dtype)  # some 0, some 1
    return Ball(center, torch.tensor([eps, 2 * eps, 0.0], dtype=torch.float64), norm)


def noise(like: Tensor, size: float) -> Tensor:
    return like + size * torch.randn(like.shape, generator=torch.Generator().manual_seed(1))


@settings(deadline=None)
@given(st.sampled_from(NORMS), st.floats(0, 3), st.floats(0.001, 10), st.integers(0, 20))
def test_no_projection_is_outside_not_by_one_bit(
    norm: Norm, eps: float, size: float, seed: int
) -> None:
    allowed = ball(norm, eps, seed=seed)
    projected = allowed.project(noise(allowed.center, size))
    assert float(projected.min()) >= 0
    assert float(projected.max()) <= 1
    assert bool(
        (distances(projected.double() - allowed.center.double(), norm) <= allowed.eps).all()
    )
    again = allowed.project(projected)
    torch.testing.assert_close(again, projected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_allowed_stays_and_the_border_is_reached(norm: Norm) -> None:
    allowed = ball(norm, 0.3)
    inside = allowed.center + 1e-4 * (0.5 - allowed.center)
    torch.testing.assert_close(allowed.project(inside)[:2], inside[:2], rtol=0, atol=1e-7)
    towards_gray = allowed.center + 10 * (0.5 - allowed.center).sign()
    border = distances(allowed.project(towards_gray) - allowed.center, norm)
    torch.testing.assert_close(border, allowed.eps, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_the_ascent_is_the_steepest_direction_of_unit_length(norm: Norm) -> None:
    allowed = ball(norm, 0.3)
    gradient = noise(torch.zeros_like(allowed.center), 1)
    gradient[2] = 0
    up = allowed.ascent(gradient)
    torch.testing.assert_close(distances(up, norm), torch.tensor([1.0, 1.0, 0.0]).double())
    gain = (up * gradient).sum(dim=(1, 2, 3))
    for seed in range(20):
        other = torch.randn(up.shape, generator=torch.Generator().manual_seed(seed))
        other = other / distances(other, norm).view(-1, 1, 1, 1)
        assert bool(((other * gradient).sum(dim=(1, 2, 3)) <= gain + 1e-6).all())


@pytest.mark.parametrize("norm", NORMS)
def test_random_points_depend_on_their_counters_alone(norm: Norm) -> None:
    allowed = ball(norm, 0.3)
    points = allowed.random_points(7, 1, [10, 11, 12])
    first = Ball(allowed.center[:1], allowed.eps[:1], norm).random_points(7, 1, [10])
    assert torch.equal(points[:1], first)
    for seed, stream, counter in ((8, 1, 10), (7, 2, 10), (7, 1, 9)):
        other = Ball(allowed.center[:1], allowed.eps[:1], norm)
        assert not torch.equal(other.random_points(seed, stream, [counter]), first)
    assert bool((distances(points - allowed.center, norm)[:2] > 0).all())


def test_the_full_range_allows_everything() -> None:
    center = torch.zeros(1, 2, 6, 5)
    for norm in NORMS:
        eps = torch.tensor([full_range(center, norm)], dtype=torch.float64)
        white = Ball(center, eps, norm).project(torch.ones_like(center))
        torch.testing.assert_close(white, torch.ones_like(center), rtol=0, atol=1e-5)


def test_unusable_images_are_refused() -> None:
    numbers = torch.arange(2)
    with pytest.raises(ValueError, match=r"2 images, 1 labels and 2 numbers"):
        Images(torch.zeros(2, 1, 4, 4), numbers[:1], numbers)
    for bad in (255.0, -0.1, torch.nan):
        with pytest.raises(ValueError, match="within"):
            Images(torch.full((2, 1, 4, 4), bad), numbers, numbers)
