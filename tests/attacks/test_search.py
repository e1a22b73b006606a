import pytest
import torch
from torch import Tensor

from emodc.attacks.losses import attack_loss
from emodc.attacks.search import FixedDraws, FreshDraws, Search
from emodc.attacks.threat_model import Images
from emodc.attacks.victims import Victim
from tests.attacks.conftest import noisy


def test_one_sample_of_fixed_draws_is_the_exact_gradient(victim: Victim, images: Images) -> None:
    noisy_victim = noisy(lambda x: victim.answer(x, 0) ** 2, 1.0)
    search = Search(noisy_victim, images, FixedDraws(5), stop_when_fooled=False)
    for loss in ("ce", "dlr"):
        value, gradient = search.climb(images.pixels, loss)
        asked = images.pixels.clone().requires_grad_()
        exact = attack_loss(loss, noisy_victim.answer(asked, 5), images.labels)
        torch.testing.assert_close(value, exact)
        torch.testing.assert_close(gradient, torch.autograd.grad(exact.sum(), asked)[0])


def test_fresh_draws_are_averaged_and_never_the_defenders() -> None:
    draws = FreshDraws(eot=3, seed=1)
    seeds = [seed for query in range(50) for seed in draws.attacker(query)]
    defender = draws.defender(20)
    assert len(set(seeds)) == 150
    assert len(set(defender)) == 20
    assert not set(seeds) & set(defender)
    assert draws.attacker(7) == FreshDraws(eot=3, seed=1).attacker(7)
    assert draws.defender(5) == defender[:5]
    assert draws.attacker(7) != FreshDraws(eot=3, seed=2).attacker(7)
    assert FixedDraws(4).attacker(9) == [4]
    assert FixedDraws(4).defender(3) == [4]


def test_the_gradient_of_fresh_draws_is_the_mean_over_them(images: Images, victim: Victim) -> None:
    asked: list[int] = []
    scale = {0: 1.0}

    def recording(pixels: Tensor, seed: int) -> Tensor:
        asked.append(seed)
        return victim.answer(pixels, 0) * scale.setdefault(seed, float(len(scale) + 1))

    search = Search(Victim(recording), images, FreshDraws(eot=4))
    asked.clear()
    _, gradient = search.climb(images.pixels, "ce")
    assert len(set(asked)) == 4
    alone = []
    for seed in asked[:4]:
        single = Search(Victim(recording), images, FixedDraws(seed), stop_when_fooled=False)
        alone.append(single.climb(images.pixels, "ce")[1])
    torch.testing.assert_close(gradient, torch.stack(alone).mean(dim=0))


@pytest.mark.parametrize("eot", [1, 4, 8])
def test_luck_with_fresh_draws_is_no_success(eot: int, victim: Victim, images: Images) -> None:
    # Noise on the logits fools half of the time without any attack: the search must go on.
    defended = noisy(lambda x: victim.answer(x, 0), 1000.0)
    assert bool(Search(defended, images, FreshDraws(eot=eot)).open.all())


@pytest.mark.parametrize("eot", [1, 4])
def test_what_fools_all_fresh_draws_is_finished(eot: int, victim: Victim, images: Images) -> None:
    # Other labels are wrong by far more than the noise on the logits; one bank cannot know it.
    others = Images(images.pixels, (images.labels + 1) % 5, images.index)
    defended = noisy(lambda x: victim.answer(x, 0), 0.01)
    assert int(Search(defended, others, FreshDraws(eot=eot)).open.sum()) == (20 if eot == 1 else 0)
    assert bool(Search(defended, others, FreshDraws(eot=eot), stop_when_fooled=False).open.all())


def test_what_settles_it_replaces_what_was_luck(images: Images) -> None:
    """The second image fools all banks by little, the first one some banks by much."""

    def answer(pixels: Tensor, seed: int) -> Tensor:
        first = bool(torch.equal(pixels, images.pixels))
        lead = (20.0 if seed % 2 else -10.0) if first else 1.0
        logits = torch.zeros(len(pixels), 5, dtype=pixels.dtype)
        return logits.scatter(1, images.labels.unsqueeze(1), -lead)

    draws = next(
        draws
        for draws in (FreshDraws(eot=4, seed=seed) for seed in range(99))
        if sum(seed % 2 for seed in draws.attacker(0)) == 2
    )
    search = Search(Victim(answer), images, draws)
    assert search.margin.tolist() == [5.0] * 20
    second = images.pixels * 0.99
    search.try_out(second)
    assert not bool(search.open.any())
    assert torch.equal(search.strongest, second)
    assert search.margin.tolist() == [1.0] * 20


def test_no_draws_are_refused() -> None:
    with pytest.raises(ValueError, match="eot must be at least 1, not 0"):
        FreshDraws(eot=0)
