import sys

import pytest
import torch
from torch import nn

from emodc.attacks.autoattack import auto_attack
from emodc.attacks.gradient import GradientAttack
from emodc.attacks.losses import LossName
from emodc.attacks.sanity import agree
from emodc.attacks.search import FixedDraws
from emodc.attacks.threat_model import NORMS, Images, Norm, distances
from emodc.attacks.victims import Victim, network_victim
from tests.attacks.conftest import noisy_images

LOSSES: tuple[LossName, ...] = ("ce", "dlr")
EPS: dict[Norm, float] = {"linf": 0.11, "l2": 0.72}


@pytest.mark.parametrize("norm", NORMS)
def test_the_authors_code_agrees(norm: Norm, network: nn.Module) -> None:
    pytest.importorskip("pyautoattack")
    x, y = noisy_images(60, seed=5)
    images = Images(x.float(), y, torch.arange(60))
    victim = network_victim(lambda pixels: network(pixels.double()))
    other = auto_attack(victim, images, EPS[norm], norm, FixedDraws())
    assert float(distances(other.pixels - images.pixels, norm).max()) <= EPS[norm] + 1e-5
    ce, dlr = (
        GradientAttack(loss=loss)(victim, images, EPS[norm], norm, FixedDraws()).fooled
        for loss in LOSSES
    )
    own = ce | dlr
    assert 20 < int(own.sum()) < 50
    assert abs(int(own.sum()) - int(other.fooled.sum())) <= 3
    assert agree("pyautoattack", own, other.fooled).passed


def test_without_the_library_the_remedy_is_named(
    victim: Victim, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    with pytest.raises(ImportError, match=r"pip install .*\[attacks\]"):
        auto_attack(victim, images, 0.1, "linf", FixedDraws())
