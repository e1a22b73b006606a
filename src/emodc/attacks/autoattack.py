"""AutoAttack by its authors' own code, as an independent cross-check of the attacks here."""

import torch

from emodc.attacks.losses import margin
from emodc.attacks.search import FixedDraws, Found
from emodc.attacks.threat_model import Images, Norm
from emodc.attacks.victims import Deployed, Victim
from emodc.support.optional import importing

_NORMS = {"linf": "Linf", "l2": "L2"}


def auto_attack(
    victim: Victim,
    images: Images,
    eps: float,
    norm: Norm,
    draws: FixedDraws,
    *,
    attacks: tuple[str, ...] = ("apgd-ce", "apgd-dlr"),
    steps: int = 20,
    seed: int = 0,
) -> Found:
    """Attack the images with ``pyautoattack`` (Croce & Hein, ICML 2020).

    Args:
        victim: what is attacked.
        images: B images; the library makes them float32.
        eps: the greatest distance from the clean image.
        norm: how distance is measured.
        draws: must be fixed: the library expects one answer for one image.
        attacks: names of the library's attacks.
        steps: gradients of each of its APGD attacks, which are started once.
        seed: of its randomness.

    Raises:
        ImportError: the extra `attacks` is not installed.
    """
    with importing("attacks", "the cross-check"):
        from pyautoattack import AutoAttack
    module = Deployed(victim, draws.seed)
    library = AutoAttack(
        module,
        attacks=list(attacks),
        device=images.pixels.device,
        eps=eps,
        norm=_NORMS[norm],
        seed=seed,
        version="custom",
    )
    library.apgd.n_iter, library.apgd.n_restarts = steps, 1
    pixels, _ = library.run_standard_evaluation(
        images.pixels, images.labels, batch_size=victim.batch
    )
    with torch.no_grad():
        return Found(pixels, margin(module(pixels), images.labels).double())
