import math
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from emodc.backbones.face_unet import FaceUNet, FaceUNetConfig
from emodc.method.draws import DrawBank, Shown, draw_bank, noisier_timesteps
from emodc.method.errors import NoisePredictor, class_errors, noise_errors, one_by_one, posterior
from emodc.method.schedule import Schedule, ShiftedCosine

SHAPE = (1, 2, 2)
SCHEDULE = ShiftedCosine(median_sigma=1.0).build()


# --- the draws -----------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 1200), st.data())
def test_the_timesteps_span_the_schedule_for_every_number_of_steps(
    timesteps: int, data: st.DataObject
) -> None:
    steps = data.draw(st.integers(1, min(timesteps, 150)))
    t = draw_bank(timesteps, steps, (1, 1, 1)).t
    assert len(t) == steps
    assert bool((t.diff() > 0).all())
    stride = Fraction(timesteps, steps)
    assert t.tolist() == [math.floor((s + Fraction(1, 2)) * stride) for s in range(steps)]
    # Nothing longer than a stride is left out between two steps, nor half of one at the ends.
    gaps = [int(t[0]) + 0.5, *t.diff().tolist(), timesteps - int(t[-1]) - 0.5]
    assert gaps[0] <= stride / 2 + 1
    assert gaps[-1] <= stride / 2 + 1
    assert max(gaps[1:-1], default=1) <= math.ceil(stride)


def test_the_hundred_steps_of_the_protocol() -> None:
    assert draw_bank(1000, 100, SHAPE).t.tolist() == list(range(5, 1000, 10))
    assert draw_bank(1000, 1000, SHAPE).t.tolist() == list(range(1000))
    # 300 does not divide 1000: a stride of 1000 // 300 would stop at 897.
    assert int(draw_bank(1000, 300, SHAPE).t[-1]) == 998


def test_the_bank_is_a_function_of_the_seed() -> None:
    bank, again, other = (draw_bank(1000, 20, SHAPE, seed=seed) for seed in (3, 3, 4))
    assert bank.eps.shape == (20, *SHAPE)
    assert torch.equal(bank.eps, again.eps)
    assert not bool((bank.eps == other.eps).any())
    assert not bool((bank.eps == draw_bank(1000, 40, SHAPE, seed=3).eps[:20]).any())


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_impossible_numbers_of_steps_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1000"):
        draw_bank(1000, steps, SHAPE)


# --- the errors ----------------------------------------------------------------------------


@dataclass
class Recorder:
    """A network without an opinion: it answers ``value`` and remembers what it was asked."""

    value: float = 0.0
    calls: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        self.calls.append((xt, t, prompts))
        return torch.full((*prompts.shape, *xt.shape[1:]), self.value)


def errors_of(predict_noise: NoisePredictor) -> Callable[[Shown, Tensor], Tensor]:
    return lambda shown, prompts: noise_errors(predict_noise, shown, prompts)


def test_noisy_images_get_only_the_noise_that_is_missing() -> None:
    recorder, bank = Recorder(value=0.5), draw_bank(1000, 8, SHAPE, seed=1)
    x0, sigma = torch.zeros(2, *SHAPE), torch.tensor([0.0, 0.7])
    errors = class_errors(errors_of(recorder.predict_noise), SCHEDULE, x0, bank, 1, sigma=sigma)
    xt, t, _ = recorder.calls[0]
    clean, noisy = t.view(2, 8)
    assert torch.equal(clean, bank.t)
    assert bool((SCHEDULE.sigma(noisy) > 0.7).all())
    # As much noise is added as to the clean image: the variances add up, to within a timestep.
    wanted = (SCHEDULE.sigma(clean).square() + 0.7**2).sqrt()
    assert bool((SCHEDULE.sigma(noisy) >= wanted).all())
    assert bool((SCHEDULE.sigma((noisy - 1).clamp_min(0)) < wanted).all())
    # In units of x0, what was added and what was there make up the step's noise.
    signal, noise = SCHEDULE.signal_and_noise(noisy)
    added = xt[8:] / signal.view(-1, 1, 1, 1) / bank.eps  # x0 is 0, so this is the added level
    level = (added[:, 0, 0, 0].square() + 0.7**2).sqrt()
    torch.testing.assert_close(level, noise / signal, rtol=1e-4, atol=0)
    rho = added[:, 0, 0, 0] / (noise / signal)
    expected = (rho.view(-1, 1, 1, 1) * 0.5 - bank.eps).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(errors[1, 0], expected, rtol=1e-4, atol=1e-6)


def test_clean_images_beside_noisy_ones_are_scored_as_ever() -> None:
    network, schedule, x0 = face_unet()
    bank = draw_bank(1000, 6, (1, 16, 16))
    sigma = torch.tensor([0.0, 0.3, 0.0, 1.0, 0.0])
    plain = class_errors(network.class_errors, schedule, x0, bank, 7)
    aware = class_errors(network.class_errors, schedule, x0, bank, 7, sigma=sigma)
    assert torch.equal(plain[sigma == 0], aware[sigma == 0])
    assert not bool((plain[sigma > 0] == aware[sigma > 0]).any())


def test_every_other_draw_shows_the_mirror_image_if_asked_for() -> None:
    network, schedule, x0 = face_unet()
    bank = draw_bank(1000, 6, (1, 16, 16), mirror=True)
    assert bank.mirrored.tolist() == [False, True] * 3
    unmirrored = draw_bank(1000, 6, (1, 16, 16))
    assert torch.equal(bank.eps, unmirrored.eps)

    def errors(x: Tensor, draws: DrawBank) -> Tensor:
        return class_errors(network.class_errors, schedule, x, draws, 7)

    found = errors(x0, bank)
    torch.testing.assert_close(found[..., ::2], errors(x0, unmirrored)[..., ::2])
    torch.testing.assert_close(found[..., 1::2], errors(x0.flip(-1), unmirrored)[..., 1::2])
    assert not bool((errors(x0, unmirrored) == errors(x0.flip(-1), unmirrored)).any())


def face_unet() -> tuple[FaceUNet, Schedule, Tensor]:
    """A small network with random weights, its schedule, and five images for it."""
    schedule = ShiftedCosine().build()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = FaceUNetConfig(patch=2, widths=(8, 8, 8, 8), depths=(1, 1, 1), embedding=16)
        network = config.build([""] * 9, schedule).eval()
        return network, schedule, torch.randn(5, 1, 16, 16)


def test_every_class_and_image_sees_the_same_draws_and_one_pass_answers_all_classes() -> None:
    recorder, bank = Recorder(), draw_bank(1000, 6, SHAPE, seed=1)
    x0 = torch.zeros(4, *SHAPE)  # so that xt is the noise alone
    errors = class_errors(
        errors_of(recorder.predict_noise), SCHEDULE, x0, bank, num_classes=3, pairs=5
    )
    assert errors.shape == (4, 3, 6)
    assert errors.dtype == torch.float32
    expected = bank.eps.square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(errors, expected.expand(4, 3, 6))
    assert [len(xt) for xt, _, _ in recorder.calls] == [5, 5, 5, 5, 4]
    assert all(prompts.tolist() == [[0, 1, 2]] * len(t) for _, t, prompts in recorder.calls)
    asked = torch.cat([t for _, t, _ in recorder.calls])
    assert asked.tolist() == bank.t.tolist() * 4
    noise = torch.cat([xt for xt, _, _ in recorder.calls]).view(4, 6, *SHAPE)
    assert torch.equal(noise[0], noise[3])


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 12))
def test_memory_is_bounded_whatever_the_sizes(images: int, steps: int, pairs: int) -> None:
    recorder, bank = Recorder(), draw_bank(50, steps, SHAPE)
    x0 = torch.zeros(images, *SHAPE)
    class_errors(errors_of(recorder.predict_noise), SCHEDULE, x0, bank, num_classes=2, pairs=pairs)
    sizes = [len(xt) for xt, _, _ in recorder.calls]
    assert max(sizes) <= pairs
    assert sum(sizes) == images * steps


def test_batch_size_and_order_change_nothing() -> None:
    network, schedule, x0 = face_unet()
    bank = draw_bank(1000, 7, (1, 16, 16), seed=2)

    def score(images: Tensor, pairs: int) -> Tensor:
        return class_errors(network.class_errors, schedule, images, bank, 7, pairs)

    whole = score(x0, 96)
    order = torch.tensor([3, 0, 4, 1, 2])
    one_by_one = torch.cat([score(image.unsqueeze(0), 96) for image in x0])
    for other in (score(x0, 1), score(x0, 4), one_by_one, score(x0[order], 96)[order.argsort()]):
        torch.testing.assert_close(other, whole, rtol=1e-5, atol=0)
    # The classes differ by more than the tolerance, so the comparison could have failed.
    assert float(whole.std(dim=1).min()) > 1e-4


def test_the_errors_are_those_of_the_published_algorithm() -> None:
    network, schedule, x0 = face_unet()
    bank = draw_bank(1000, 7, (1, 16, 16), seed=2)
    expected = one_by_one(network.predict_noise, schedule, x0[:2], bank, 7, batch=3)
    found = class_errors(network.class_errors, schedule, x0[:2], bank, 7)
    torch.testing.assert_close(found.double().mean(dim=2), expected, rtol=1e-5, atol=0)
    assert float(expected.std(dim=1).min()) > 1e-4


def test_errors_follow_a_permutation_of_the_classes() -> None:
    network, schedule, x0 = face_unet()
    bank = draw_bank(1000, 3, (1, 16, 16))
    permutation = torch.tensor([4, 2, 6, 0, 1, 5, 3])

    def renamed(xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        return network.predict_noise(xt, t, permutation[prompts])

    errors = class_errors(network.class_errors, schedule, x0, bank, 7)
    torch.testing.assert_close(
        class_errors(errors_of(renamed), schedule, x0, bank, 7),
        errors[:, permutation],
        rtol=1e-5,
        atol=0,
    )


# --- the posterior -------------------------------------------------------------------------


def test_the_posterior_is_a_distribution_that_favors_the_least_error() -> None:
    errors = torch.rand(50, 7, 10, generator=torch.Generator().manual_seed(0))
    p = posterior(errors, scale=30.0)
    assert p.dtype == torch.float64
    torch.testing.assert_close(p.sum(dim=1), torch.ones(50, dtype=torch.float64))
    assert p.argmax(dim=1).tolist() == errors.mean(dim=2).argmin(dim=1).tolist()
    two = torch.tensor([[[0.5, 0.7], [0.7, 0.9]]])
    odds = math.exp(30 * 0.2)
    assert posterior(two, scale=30.0)[0].tolist() == pytest.approx(
        [odds / (odds + 1), 1 / (odds + 1)]
    )


def test_near_equal_classes_are_not_ordered_by_the_rounding_of_the_sum() -> None:
    # Class 1 is better by 2^-24 in each of many draws: a sum in float32 would lose that.
    errors = 0.5 + 0.4 * torch.rand(20, 1, 1000, generator=torch.Generator().manual_seed(0))
    errors = torch.cat([errors + 2**-24, errors], dim=1)
    assert posterior(errors, scale=1.0).argmax(dim=1).tolist() == [1] * 20
    assert errors.mean(dim=2).argmin(dim=1).tolist() != [1] * 20


# --- worlds with an exact denoiser ---------------------------------------------------------


@dataclass
class GaussianWorld:
    """Classes with Gaussian images, of which everything is known in closed form.

    Attributes:
        means: (K, 4).
        covariances: (K, 4, 4).
    """

    means: Tensor
    covariances: Tensor

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """E[eps | xt, c] = b (a^2 C_c + b^2 I)^-1 (xt - a m_c): the perfect conditional model."""
        signal, noise = SCHEDULE.signal_and_noise(t)
        a, b = signal.view(-1, 1, 1, 1), noise.view(-1, 1, 1, 1)  # (B, 1, 1, 1)
        marginal = a**2 * self.covariances + b**2 * torch.eye(4)  # (B, K, 4, 4)
        centered = xt.view(-1, 1, 4, 1) - a * self.means.unsqueeze(2)  # (B, K, 4, 1)
        eps: Tensor = b * torch.linalg.solve(marginal, centered)  # (B, K, 4, 1)
        chosen = eps.squeeze(3)[torch.arange(len(xt)).unsqueeze(1), prompts]  # (B, P, 4)
        return chosen.reshape(*prompts.shape, *SHAPE)

    def sample(self, images: int) -> Tensor:
        """Return (N, 1, 2, 2) images, the classes taking turns."""
        k = torch.arange(images) % len(self.means)
        roots = torch.linalg.cholesky(self.covariances)
        z = torch.randn(images, 4, 1, generator=torch.Generator().manual_seed(5))
        x0: Tensor = self.means[k] + (roots[k] @ z).squeeze(2)
        return x0.view(-1, *SHAPE)

    def log_likelihoods(self, x0: Tensor) -> Tensor:
        """Return log p(x0 | c), (N, K)."""
        centered = x0.view(-1, 1, 4, 1) - self.means.unsqueeze(2)  # (N, K, 4, 1)
        solved: Tensor = torch.linalg.solve(self.covariances, centered)
        mahalanobis = (centered * solved).sum(dim=(2, 3))  # (N, K)
        return -0.5 * (mahalanobis + self.covariances.logdet() + 4 * math.log(2 * math.pi))

    def noisy(self, sigma: float) -> "GaussianWorld":
        """Return the world of these images with white noise of level sigma in them."""
        return GaussianWorld(self.means, self.covariances + sigma**2 * torch.eye(4))

    def errors(self, x0: Tensor, steps: int, seed: int = 0, sigma: float = 0.0) -> Tensor:
        bank = draw_bank(SCHEDULE.timesteps, steps, SHAPE, seed)
        return class_errors(
            errors_of(self.predict_noise),
            SCHEDULE,
            x0,
            bank,
            len(self.means),
            pairs=8192,
            sigma=torch.full((len(x0),), sigma),
        )


ROUGHNESS = torch.tensor([0.05, 0.8]).view(2, 1, 1)
"""Variance of each class's images around their mean."""


def isotropic_world() -> GaussianWorld:
    means = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0], [0, 0, -1.0, 0.5]])
    return GaussianWorld(means, 0.25 * torch.eye(4).expand(3, 4, 4))


def full_world() -> GaussianWorld:
    generator = torch.Generator().manual_seed(1)
    roots = torch.randn(3, 4, 4, generator=generator)
    covariances = 0.3 * roots @ roots.transpose(1, 2) + 0.1 * torch.eye(4)
    return GaussianWorld(torch.randn(3, 4, generator=generator), covariances)


def log_odds(scores: Tensor) -> Tensor:
    """Return how far each image's first class is above its second, (N,)."""
    best = scores.sort(dim=1, descending=True).values
    return best[:, 0] - best[:, 1]


@pytest.mark.parametrize("world", [isotropic_world(), full_world()], ids=["isotropic", "full"])
def test_the_classifier_comes_to_agree_with_bayes(world: GaussianWorld) -> None:
    x0 = world.sample(300)
    exact = world.log_likelihoods(x0)
    clear = log_odds(exact) > 3
    assert 100 < int(clear.sum()) < 295

    def agreement(errors: Tensor) -> Tensor:
        p = posterior(errors, scale=10.0)
        return (p.argmax(dim=1) == exact.argmax(dim=1)).double()

    few, many = world.errors(x0, 4), world.errors(x0, 1000)
    assert float(agreement(many)[clear].mean()) > 0.99
    assert float(agreement(many).mean()) > 0.96
    assert float(agreement(few).mean()) < 0.9
    # With the sign the wrong way round the least likely class would win.
    assert float(agreement(-many)[clear].mean()) < 0.05


def test_with_the_weights_of_the_likelihood_the_errors_are_the_likelihood() -> None:
    # -log p(x) = const + 1/2 integral of E|eps - eps_theta|^2 d(log SNR), by the pointwise I-MMSE
    # relation (Kong et al., "Information-theoretic diffusion", ICLR 2023, Eq. 9): a closed form
    # for d_c itself, in level and unit, and not only for the order of the classes.
    world = full_world()
    x0 = world.sample(30)
    sigma = SCHEDULE.sigma(torch.arange(1000)).double()
    log_snr = -2 * sigma.log()
    weights = torch.gradient(-log_snr)[0]  # per step, in nats
    errors = torch.stack([world.errors(x0, 1000, seed) for seed in range(4)]).double().mean(dim=0)
    found = -0.5 * (4 * errors * weights).sum(dim=2)  # d_c is a mean over 4 elements
    exact = world.log_likelihoods(x0).double()
    difference = (found - found.mean(dim=1, keepdim=True)) - (
        exact - exact.mean(dim=1, keepdim=True)
    )
    assert float((exact - exact.mean(dim=1, keepdim=True)).std()) > 10
    assert float(difference.square().mean().sqrt()) < 0.5


def test_accounting_for_noise_agrees_with_bayes_on_noisy_images() -> None:
    # The network knows clean images only, smooth ones of class 0 and rough ones of class 1. Noise
    # makes the smooth ones look rough, unless it is accounted for.
    world, sigma = GaussianWorld(torch.eye(2, 4), torch.eye(4) * ROUGHNESS), 0.8
    noisy = world.noisy(sigma)
    x = noisy.sample(300)
    exact = noisy.log_likelihoods(x)
    clear = log_odds(exact) > 1
    assert 50 < int(clear.sum()) < 295

    def agreement(errors: Tensor) -> float:
        return float(
            (errors.mean(dim=2).argmin(dim=1) == exact.argmax(dim=1))[clear].double().mean()
        )

    aware, plain = agreement(world.errors(x, 1000, sigma=sigma)), agreement(world.errors(x, 1000))
    assert aware > 0.97
    assert plain < 0.85


def test_the_errors_of_noisy_images_are_the_likelihood_of_noisy_images() -> None:
    # d - with rho^2 d(log SNR) of the noise that is added as its weight - is the likelihood again,
    # because the scaled error is that of a denoiser of the noisy image: Chen et al., section 4.
    world, sigma = full_world(), 0.5
    noisy = world.noisy(sigma)
    x = noisy.sample(30)
    bank_t = noisier_timesteps(SCHEDULE, torch.arange(1000), torch.full((1000,), sigma))
    levels = SCHEDULE.sigma(torch.arange(1000)).double()
    above = levels[levels > sigma]
    added = (above.square() - sigma**2).log()  # log of the added noise's variance, -log SNR
    per_step = torch.gradient(added)[0]
    weights = torch.zeros(1000, dtype=torch.float64)
    weights[levels > sigma] = per_step
    share = torch.bincount(bank_t, minlength=1000).double()  # draws that fall on a step
    errors = (
        torch.stack([world.errors(x, 1000, seed, sigma) for seed in range(8)]).double().mean(dim=0)
    )
    found = -0.5 * (4 * errors * (weights / share.clamp_min(1))[bank_t]).sum(dim=2)
    exact = noisy.log_likelihoods(x).double()
    difference = (found - found.mean(dim=1, keepdim=True)) - (
        exact - exact.mean(dim=1, keepdim=True)
    )
    assert float((exact - exact.mean(dim=1, keepdim=True)).std()) > 2
    assert float(difference.square().mean().sqrt()) < 0.3
