import pytest
import torch

from emodc.attacks.gradient import GradientAttack
from emodc.attacks.minimal_perturbation import minimal_perturbation
from emodc.attacks.search import FixedDraws
from emodc.attacks.threat_model import NORMS, Images, Norm, distances
from emodc.attacks.victims import Victim, predictions
from tests.attacks.conftest import gray, linear_victim

ATTACK = GradientAttack(steps=15)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("start", [1e-4, 0.3])
def test_the_minimal_perturbations_of_a_linear_victim(norm: Norm, start: float) -> None:
    victim, weights = linear_victim()
    images = gray(8, victim)
    found = minimal_perturbation(ATTACK, victim, images, norm, FixedDraws(), start=start, rounds=12)
    z = victim.answer(images.pixels, 0)
    gaps = z.gather(1, images.labels.unsqueeze(1)) - z  # (B, K)
    between = weights.unsqueeze(0) - weights[images.labels].unsqueeze(1)
    dual = between.abs().sum(dim=2) if norm == "linf" else between.norm(dim=2)
    true = (gaps / dual).nan_to_num(nan=torch.inf).amin(dim=1)
    assert bool((found.distance >= true - 1e-9).all())
    assert bool((found.distance <= 1.05 * true).all())
    torch.testing.assert_close(distances(found.pixels - images.pixels, norm), found.distance)
    assert bool((predictions(victim, found.pixels, [0]).squeeze(1) != images.labels).all())


def test_mistakes_need_nothing_and_some_stand_up_to_everything(images: Images) -> None:
    def stubborn(pixels: torch.Tensor, seed: int) -> torch.Tensor:
        z = torch.zeros(len(pixels), 5, dtype=pixels.dtype)
        z[:, 2] = 1
        return z + 1e-6 * pixels.mean(dim=(1, 2, 3)).unsqueeze(1)

    found = minimal_perturbation(ATTACK, Victim(stubborn), images, "linf", FixedDraws(), start=0.01)
    right = images.labels == 2
    assert 0 < int(right.sum()) < len(images)
    assert bool(found.distance[right].isinf().all())
    assert bool((found.distance[~right] == 0).all())
    assert torch.equal(found.pixels, images.pixels)


def test_an_image_is_searched_alone(victim: Victim, images: Images) -> None:
    whole = minimal_perturbation(ATTACK, victim, images, "linf", FixedDraws(), start=0.05, rounds=5)
    assert len(set(whole.distance.tolist())) == len(images)
    rows = torch.tensor([11, 3])
    some = minimal_perturbation(
        ATTACK, victim, images[rows], "linf", FixedDraws(), start=0.05, rounds=5
    )
    torch.testing.assert_close(some.distance, whole.distance[rows])


def test_more_rounds_never_lengthen(victim: Victim, images: Images) -> None:
    few, many = (
        minimal_perturbation(ATTACK, victim, images, "l2", FixedDraws(), start=0.05, rounds=rounds)
        for rounds in (4, 8)
    )
    assert bool((many.distance <= few.distance).all())
    assert bool((many.distance < few.distance).any())


def test_a_start_at_zero_is_refused(victim: Victim, images: Images) -> None:
    with pytest.raises(ValueError, match="must be positive, not 0"):
        minimal_perturbation(ATTACK, victim, images, "linf", FixedDraws(), start=0)
