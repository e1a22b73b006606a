"""What is attacked: a decision rule from pixels to class logits, with the draws it used.

Attacks see every model as a function of pixels and of the seed of its draws. For a diffusion
classifier the logits are those of the deployed rule, ``-scale * mean_s w_s d_c,s``, and the
gradient goes through every (class, t, eps) term of it. Nothing is approximated: a gradient of
fewer terms, or of other ones, makes a classifier look robust that is not.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from emodc.method.draws import show
from emodc.method.errors import DEFAULT_PAIRS
from emodc.model.model import Model

Rule = Callable[[Tensor, int], Tensor]
"""Pixels (B, C, H, W) in [0, 1] and the seed of the draws -> logits (B, K)."""


@dataclass(frozen=True)
class Victim:
    """What is attacked.

    Attributes:
        answer: pixels (B, C, H, W) in [0, 1] and the seed of the draws -> logits (B, K), of which
            the greatest is the answer. Gradient attacks need logits that are differentiable
            functions of the pixels; the black-box attack does not. An image's logits must not
            depend on the images beside it.
        batch: most images shown at once.
        deployed: what answers in the end, if ``answer`` is only a stand-in for it that has
            gradients; called alike.

    Raises:
        ValueError: ``batch`` is not positive.
    """

    answer: Rule
    batch: int = 64
    deployed: Rule | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ValueError(f"a victim is shown at least 1 image at once, not {self.batch}")


def network_victim(network: Callable[[Tensor], Tensor], batch: int = 64) -> Victim:
    """Return a discriminative classifier as a victim; it has no draws, so their seed is ignored.

    Args:
        network: pixels (B, C, H, W) in [0, 1] -> logits (B, K), with its own preprocessing.
        batch: most images shown at once.
    """
    return Victim(lambda pixels, seed: network(pixels), batch)


def diffusion_victim(model: Model, steps: int, pairs: int = DEFAULT_PAIRS) -> Victim:
    """Return a diffusion classifier as a victim.

    Its pixels are those that the codec standardizes, so x0 is a differentiable function of them.
    The logits order the classes as :func:`emodc.method.errors.posterior` does; its power, which
    changes no order, is left out because its gradient is infinite at the leading class.

    Memory is that of one call of the network, forward and backward, whatever the number of
    images, classes and draws: as many images are shown at once as fit in one call. When the draws
    of one image do not fit, their activations are forgotten and computed once more on the way
    back, call by call, which takes half as long again.

    Args:
        model: what is attacked; left as it is.
        steps: draws of the deployed rule, as asked for.
        pairs: most (image, draw) pairs in one call of the network.
    """
    draws, classes = model.draws_taken(steps), len(model.label_set)

    def answer(pixels: Tensor, seed: int) -> Tensor:
        bank = model.draws(steps, seed).to(pixels.device)

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
        ).view(len(pixels), draws, classes)
        weights = model.decision.weights_at(bank.t, model.schedule.timesteps).to(pixels.device)
        means = (errors.double() * weights.view(1, -1, 1)).mean(dim=1)  # (B, K)
        return -model.decision.scale * model.noise_gain(sigma).unsqueeze(1) * means

    return Victim(answer, batch=max(pairs // draws, 1))


@torch.no_grad()
def predictions(victim: Victim, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return the deployed rule's answers, (B, R) int64, for each of R seeds of its draws.

    Args:
        victim: what answers.
        pixels: (B, C, H, W) in [0, 1].
        seeds: one for every evaluation.
    """
    parts, answer = torch.split(pixels, victim.batch), victim.deployed or victim.answer
    rows = [torch.cat([answer(x, seed).argmax(dim=1) for x in parts]) for seed in seeds]
    return torch.stack(rows, dim=1)


class Deployed(nn.Module):
    """A victim with fixed draws as a torch module, for attack libraries that expect one.

    Args:
        victim: what answers.
        seed: of its draws.
    """

    def __init__(self, victim: Victim, seed: int = 0) -> None:
        super().__init__()
        self._victim, self._seed = victim, seed

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> logits (B, K) of the pixels' dtype."""
        return self._victim.answer(pixels, self._seed).to(pixels.dtype)
