import pytest
import torch
from torch import Tensor

from emodc.method.linear_denoiser import wiener_errors
from emodc.method.schedule import Schedule, ShiftedCosine, add_noise, noise_error

T = torch.tensor([10, 200, 500, 800, 990])


def some_images(count: int, seed: int) -> Tensor:
    """Images (N, 1, 3, 3) whose pixels are correlated and have a mean."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(9, 9, generator=torch.Generator().manual_seed(0)) / 3
    flat = torch.randn(count, 9, generator=generator) @ mixing + torch.linspace(-1, 1, 9)
    return flat.view(count, 1, 3, 3)


def schedule() -> Schedule:
    return ShiftedCosine(median_sigma=0.7).build()


def test_on_its_own_images_it_has_the_closed_form() -> None:
    images = some_images(300, seed=1)
    eigenvalues = torch.linalg.eigvalsh(images.flatten(1).double().T.cov(correction=0))
    variance = schedule().sigma(T).double().square().unsqueeze(1)  # (S, 1)
    expected = (eigenvalues / (eigenvalues + variance)).mean(dim=1)
    torch.testing.assert_close(wiener_errors(images, images, schedule(), T), expected)


def test_on_other_images_it_is_what_the_denoiser_measures() -> None:
    train, test = some_images(300, seed=1), some_images(40, seed=2)
    measured = []
    mean = train.flatten(1).double().mean(dim=0)
    covariance = train.flatten(1).double().T.cov(correction=0)
    for t in T:
        a, b = (value.double() for value in schedule().signal_and_noise(t))
        repeated = test.repeat(500, 1, 1, 1)
        eps = torch.randn(repeated.shape, generator=torch.Generator().manual_seed(int(t)))
        xt = add_noise(schedule(), repeated, eps, t.expand(len(repeated)))
        gain = torch.linalg.inv(a**2 * covariance + b**2 * torch.eye(9, dtype=torch.float64))
        predicted = (b * (xt.flatten(1) - a * mean) @ gain).view_as(eps)
        measured.append(float(noise_error(predicted.unsqueeze(1), eps).mean()))
    assert wiener_errors(train, test, schedule(), T).tolist() == pytest.approx(measured, rel=0.02)


def test_a_mean_or_a_covariance_of_other_images_costs() -> None:
    train, test = some_images(3000, seed=1), some_images(3000, seed=2)
    fitted = wiener_errors(train, test, schedule(), T)
    for wrong in (train + 1, train * 2, torch.randn(3000, 1, 3, 3)):
        assert bool((wiener_errors(wrong, test, schedule(), T) > fitted).all())


def test_one_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="two training images"):
        wiener_errors(some_images(1, seed=1), some_images(1, seed=1), schedule(), T)
