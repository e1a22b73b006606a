"""A model as a victim of attacks: from pixels to logits, with the gradient of every term."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from emodc.attacks.victims import Victim
from emodc.inference.smoothing import Smoothing
from emodc.method.draws import DrawBank, show
from emodc.method.errors import DEFAULT_PAIRS
from emodc.method.randomness import standard_normal
from emodc.model.model import Model

BANKS = 4
"""Banks of draws that a victim keeps."""

_NOISE_STREAM = 0x5A077  # of `counter_rng`


def diffusion_victim(model: Model, steps: int, pairs: int = DEFAULT_PAIRS) -> Victim:
    """Return a model with plain scoring as a victim.

    Its pixels are those that the codec standardizes, so x0 is a differentiable function of them.
    The logits are `Decision.logits`, and the gradient goes through every (class, t, eps) term.

    Memory is that of one call of the network, forward and backward, whatever the number of
    images, classes and draws: as many images are shown at once as fit in one call. When the draws
    of one image do not fit, their activations are forgotten and computed once more on the way
    back, call by call, which takes half as long again.

    Args:
        model: what is attacked; left as it is.
        steps: draws of the deployed rule, as asked for.
        pairs: most (image, draw) pairs in one call of the network.
    """
    draws, timesteps = model.draws_taken(steps), model.schedule.timesteps

    @lru_cache(BANKS)  # an attack asks for the same draws at every query
    def bank_of(seed: int, device: torch.device) -> DrawBank:
        return model.draws(steps, seed).to(device)

    def answer(pixels: Tensor, seed: int) -> Tensor:
        bank = bank_of(seed, pixels.device)

        def terms(x: Tensor, sigma: Tensor, pair: Tensor) -> Tensor:
            shown = show(model.schedule, x, sigma, bank, pair // draws, pair % draws)
            return model.shown_errors(shown)  # (pairs, K)

        x, sigma = model.observe(model.settings.codec.to_x0(255 * pixels))
        parts = torch.split(torch.arange(len(pixels) * draws, device=pixels.device), pairs)
        recompute = len(parts) > 1 and torch.is_grad_enabled() and x.requires_grad
        errors = torch.cat(
            [
                checkpoint(terms, x, sigma, pair, use_reentrant=False, preserve_rng_state=False)
                if recompute
                else terms(x, sigma, pair)
                for pair in parts
            ]
        )  # (B * S, K)
        errors = errors.view(len(pixels), draws, -1).transpose(1, 2)  # (B, K, S)
        return model.decision.logits(errors, bank.t, timesteps)

    return Victim(answer, batch=max(pairs // draws, 1))


def smoothed_victim(model: Model, smoothing: Smoothing) -> Victim:
    """Return a smoothed classifier (`emodc.inference.smoothing`) as a victim.

    Its answer for a seed is that to the image with one noise added; an attack on the smoothed
    classifier averages over seeds (Salman et al., NeurIPS 2019, section 3.1).

    Args:
        model: the classifier that is smoothed.
        smoothing: how much noise, and the draws, which are fixed.
    """
    plain = diffusion_victim(model, smoothing.steps)

    def answer(pixels: Tensor, seed: int) -> Tensor:
        noise = standard_normal(seed, _NOISE_STREAM, [0], tuple(pixels.shape[1:]))
        return plain.answer(pixels + smoothing.sigma * noise.to(pixels), smoothing.seed)

    return Victim(answer, batch=plain.batch)
