from dataclasses import replace

import pytest
import torch
from torch import Tensor

from emodc.attacks.gradient import GradientAttack, ball_around, checkpoints
from emodc.attacks.losses import LossName, margin
from emodc.attacks.search import Draws, FixedDraws, FreshDraws
from emodc.attacks.threat_model import NORMS, Images, Norm, distances
from emodc.attacks.victims import Victim, network_victim, predictions
from tests.attacks.conftest import gray, linear_victim, noisy

EPS: dict[Norm, float] = {"linf": 0.25, "l2": 2.0}
ATTACKS = [
    GradientAttack(method="pgd", loss="ce", steps=10),
    GradientAttack(method="pgd", loss="dlr", steps=10),
    GradientAttack(method="apgd", loss="ce", steps=10),
    GradientAttack(method="apgd", loss="dlr", steps=10),
    GradientAttack(method="apgd", loss="ce", steps=10, targets=4),
    GradientAttack(method="apgd", loss="dlr", steps=10, targets=4),
]
each_attack = pytest.mark.parametrize(
    "attack", ATTACKS, ids=lambda a: f"{a.method}-{a.loss}-{a.targets}"
)


@each_attack
@pytest.mark.parametrize("norm", NORMS)
def test_an_undefended_network_is_broken_within_the_ball(
    attack: GradientAttack, norm: Norm, victim: Victim, images: Images
) -> None:
    found = attack(victim, images, EPS[norm], norm, FixedDraws())
    assert bool(found.fooled.all())
    assert bool((predictions(victim, found.pixels, [0]).squeeze(1) != images.labels).all())
    assert float(distances(found.pixels - images.pixels, norm).max()) <= EPS[norm]
    assert float(found.pixels.min()) >= 0
    assert float(found.pixels.max()) <= 1
    torch.testing.assert_close(found.margin, margin(victim.answer(found.pixels, 0), images.labels))


@each_attack
@pytest.mark.parametrize("norm", NORMS)
def test_the_strongest_image_of_a_linear_victim_is_found(
    attack: GradientAttack, norm: Norm
) -> None:
    # Between two classes the margin rises by at most eps times the dual norm of its gradient.
    linear, weights = linear_victim()
    hopeless = torch.tensor([0.0, 0, -1000, -1000, -1000])

    victim = network_victim(lambda pixels: linear.answer(pixels, 0) + hopeless)
    images, eps = gray(10, victim), 0.1 * EPS[norm]
    assert set(images.labels.tolist()) == {0, 1}
    attack = replace(attack, stop_when_fooled=False, steps=30)
    found = attack(victim, images, eps, norm, FixedDraws())
    between = weights[0] - weights[1]
    dual = float(between.abs().sum() if norm == "linf" else between.norm())
    rise = found.margin - margin(victim.answer(images.pixels, 0), images.labels)
    assert float(rise.max()) <= eps * dual * (1 + 1e-9)
    assert float(rise.min()) >= eps * dual * 0.97


@each_attack
@pytest.mark.parametrize("draws", [FixedDraws(3), FreshDraws(eot=2)], ids=["fixed", "fresh"])
def test_an_image_is_attacked_alone_whoever_is_beside_it(
    attack: GradientAttack, draws: Draws, victim: Victim, images: Images
) -> None:
    # Some images are fooled at once, others late or never: neighbors come and go.
    whole = attack(noisy(lambda x: victim.answer(x, 0), 1.0), images, 0.1, "linf", draws)
    assert 0 < int(whole.fooled.sum()) < len(images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    for rows in (order[:1], order[:7], order):
        some = attack(noisy(lambda x: victim.answer(x, 0), 1.0), images[rows], 0.1, "linf", draws)
        torch.testing.assert_close(some.pixels, whole.pixels[rows])
        torch.testing.assert_close(some.margin, whole.margin[rows])


def test_the_seed_decides(victim: Victim, images: Images) -> None:
    attack = GradientAttack(steps=3, stop_when_fooled=False)
    first, again, other = (
        attack(victim, images, 0.02, "linf", FixedDraws(), seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first.pixels, again.pixels)
    assert not torch.equal(first.pixels, other.pixels)


def test_apgd_beats_pgd_and_more_never_hurts(victim: Victim, images: Images) -> None:
    def reached(**settings: object) -> float:
        attack = GradientAttack(stop_when_fooled=False, **settings)  # type: ignore[arg-type]
        return float(attack(victim, images, 0.1, "linf", FixedDraws()).margin.mean())

    apgd = reached(method="apgd", steps=20)
    assert apgd > reached(method="pgd", steps=20) - 0.01
    assert reached(method="apgd", steps=80) > apgd - 0.01
    assert reached(method="apgd", steps=20, restarts=3) >= apgd
    assert reached(method="apgd", steps=5) < apgd


def test_clean_mistakes_cost_nothing_and_stay_clean(victim: Victim, images: Images) -> None:
    wrong = Images(images.pixels, (images.labels + 1) % 5, images.index)
    asked: list[int] = []

    def counting(pixels: Tensor, seed: int) -> Tensor:
        asked.append(len(pixels))
        return victim.answer(pixels, seed)

    found = GradientAttack(steps=5)(Victim(counting), wrong, 0.1, "linf", FixedDraws())
    assert torch.equal(found.pixels, images.pixels)
    assert asked == [len(images)]


def test_open_images_fill_the_calls(victim: Victim, images: Images) -> None:
    sizes: list[int] = []

    def counting(pixels: Tensor, seed: int) -> Tensor:
        sizes.append(len(pixels))
        return victim.answer(pixels, seed)

    whole = ATTACKS[0](victim, images, 0.1, "linf", FixedDraws())
    found = ATTACKS[0](Victim(counting, batch=8), images, 0.1, "linf", FixedDraws())
    torch.testing.assert_close(found.pixels, whole.pixels)
    left = int((~whole.fooled).sum())
    assert sizes[:3] == [8, 8, 4]
    assert sizes[-1] == (left % 8 or 8)
    assert len(sizes) < 3 * 12


@pytest.mark.parametrize("steps", [5, 20, 100])
def test_the_checkpoints_of_apgd(steps: int) -> None:
    found = checkpoints(steps)
    if steps == 100:
        assert found == [22, 41, 57, 70, 80, 87, 93, 99]
    assert found == sorted(found)
    assert found[0] >= 1
    assert found[-1] <= steps


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_each_aim_is_a_wrong_class(loss: LossName, victim: Victim, images: Images) -> None:
    attack = GradientAttack(loss=loss, targets=4)
    aims = torch.stack(
        [aim for aim in attack._aims(victim, images, FixedDraws()) if aim is not None]
    )
    everything = torch.cat([aims, images.labels.unsqueeze(0)]).sort(dim=0).values
    assert everything.T.tolist() == [[0, 1, 2, 3, 4]] * len(images)
    logits = victim.answer(images.pixels, 0).gather(1, aims.T)
    assert bool((logits.diff(dim=1) <= 0).all())


def test_what_cannot_be_attacked_is_refused(victim: Victim, images: Images) -> None:
    def opaque(pixels: Tensor, seed: int) -> Tensor:
        return victim.answer(pixels, seed).detach()

    with pytest.raises(ValueError, match="no gradient: attack it with square"):
        GradientAttack()(Victim(opaque), images, 0.1, "linf", FixedDraws())
    with pytest.raises(ValueError, match="5 targets, but there are only 4 wrong classes"):
        GradientAttack(targets=5)(victim, images, 0.1, "linf", FixedDraws())
    for eps in (-0.1, torch.nan):
        with pytest.raises(ValueError, match="eps must not be negative"):
            ball_around(images, eps, "linf")
    for bad in ({"steps": 0}, {"targets": -1}, {"restarts": 0}):
        with pytest.raises(ValueError, match=r"at least 1 step|restarts times targets"):
            GradientAttack(**bad)  # type: ignore[arg-type]
