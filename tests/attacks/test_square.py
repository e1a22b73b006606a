import numpy as np
import pytest
import torch
from torch import Tensor

from emodc.attacks.search import FixedDraws, FreshDraws
from emodc.attacks.square import Square, _bump, _move_mass, _tiles
from emodc.attacks.threat_model import NORMS, Images, Norm, distances
from emodc.attacks.victims import Victim
from emodc.method.randomness import counter_rng
from tests.attacks.conftest import noisy

EPS: dict[Norm, float] = {"linf": 0.3, "l2": 2.5}


@pytest.mark.parametrize("norm", NORMS)
def test_an_undefended_network_is_broken_without_gradients(
    norm: Norm, victim: Victim, images: Images
) -> None:
    def opaque(pixels: Tensor, seed: int) -> Tensor:
        assert not torch.is_grad_enabled()
        return victim.answer(pixels, seed)

    found = Square(queries=300)(Victim(opaque), images, EPS[norm], norm, FixedDraws())
    assert float(found.fooled.double().mean()) > 0.9
    assert float(distances(found.pixels - images.pixels, norm).max()) <= EPS[norm]
    assert float(found.pixels.min()) >= 0
    assert float(found.pixels.max()) <= 1


@pytest.mark.parametrize("norm", NORMS)
def test_the_search_improves_on_its_first_image(norm: Norm, victim: Victim, images: Images) -> None:
    reached = [
        float(
            Square(queries=n, stop_when_fooled=False)(
                victim, images, EPS[norm] / 4, norm, FixedDraws()
            ).margin.mean()
        )
        for n in (1, 25, 120)
    ]
    assert reached[0] < reached[1] < reached[2]


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_is_attacked_alone_whoever_is_beside_it(
    norm: Norm, victim: Victim, images: Images
) -> None:
    eps = EPS[norm] / 2
    whole = Square(queries=60)(victim, images, eps, norm, FixedDraws(), seed=3)
    assert 0 < int(whole.fooled.sum()) < len(images)
    rows = torch.tensor([13, 2, 7])
    some = Square(queries=60)(victim, images[rows], eps, norm, FixedDraws(), seed=3)
    torch.testing.assert_close(some.pixels, whole.pixels[rows])


def test_with_fresh_draws_a_lucky_answer_does_not_end_the_search(
    victim: Victim, images: Images
) -> None:
    lucky = noisy(lambda x: victim.answer(x, 0), 1.0)
    found = Square(queries=200)(lucky, images, EPS["linf"], "linf", FreshDraws())
    truth = victim.answer(found.pixels, 0).argmax(dim=1)
    assert float((truth != images.labels).double().mean()) > 0.8


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8])
def test_the_mass_moves_but_does_not_grow(side: int) -> None:
    delta = _tiles((2, 8, 9), 1.5, counter_rng(0, 0, 0))
    assert np.linalg.norm(delta) == pytest.approx(1.5)
    for index in range(20):
        moved = _move_mass(delta, 1.5, side, counter_rng(0, 1, index))
        assert np.linalg.norm(moved) <= 1.5 + 1e-9
        assert not np.array_equal(moved, delta)


@pytest.mark.parametrize("side", [1, 3, 6, 43])
def test_a_bump_goes_up_and_down(side: int) -> None:
    bump = _bump(side, counter_rng(0, 0, side))
    assert bump.shape == (side, side)
    assert np.linalg.norm(bump) == pytest.approx(1)
    if side > 1:
        assert bump.min() < 0 < bump.max()


def test_unusable_settings_are_refused() -> None:
    for bad in ({"queries": 0}, {"share": 0.0}, {"share": 1.5}):
        with pytest.raises(ValueError, match="square needs"):
            Square(**bad)
