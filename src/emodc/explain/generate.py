"""Faces drawn by the weights that classify, guided by the null prompt if asked for.

Ho and Salimans, "Classifier-Free Diffusion Guidance" (arXiv 2207.12598), equation 6.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from emodc.method.ddim import Denoiser, ddim
from emodc.method.prompts import null_prompt
from emodc.method.randomness import standard_normal
from emodc.model.model import Model
from emodc.support.timing import Progress, unheard

DEFAULT_STEPS = 50
"""Steps of DDIM, if the number is not chosen."""

_STREAM = 0xFACE  # of `counter_rng`
_AT_ONCE = 64  # images in one call of the network: bounds memory, does not change them


def guided(model: Model, prompts: Tensor, guidance: float) -> Denoiser:
    """Return the denoiser of images under one prompt each.

    ``eps = eps_null + guidance (eps_c - eps_null)``: 1 is the prompt alone, more exaggerates what
    the prompt changes, 0 is the null prompt alone.

    Args:
        model: predicts the noise.
        prompts: (B,) int64 prompt ids, on the model's device.
        guidance: the weight w + 1 of the paper.
    """
    if guidance == 1:
        return lambda xt, t: model.predict_noise(xt, t, prompts.unsqueeze(1))[:, 0]
    null = torch.full_like(prompts, null_prompt(len(model.label_set)))
    both = torch.stack([prompts, null], dim=1)  # (B, 2)

    def denoiser(xt: Tensor, t: Tensor) -> Tensor:
        named, unnamed = model.predict_noise(xt, t, both).float().unbind(dim=1)
        return unnamed + guidance * (named - unnamed)

    return denoiser


@torch.inference_mode()
def generate(
    model: Model,
    prompts: Sequence[int],
    count: int,
    *,
    steps: int = DEFAULT_STEPS,
    guidance: float = 1.0,
    seed: int = 0,
    progress: Progress = unheard,
) -> Tensor:
    """Draw images under each of several prompts.

    Image i starts from noise that is a function of (seed, i) alone, the same for every prompt:
    what differs between the prompts is what they ask for.

    Args:
        model: draws them.
        prompts: P prompt ids; see `emodc.method.prompts`.
        count: images N under each.
        steps: S of `emodc.method.ddim.ddim`.
        guidance: see `guided`.
        seed: of the noise.
        progress: is told after every call of the network.

    Returns:
        (P, N, C, H, W) float32, x0 on the model's device; `Codec.decode` makes them viewable.

    Raises:
        ValueError: the model is discriminative, ``count`` is below 1, ``steps`` out of range or
            ``guidance`` not finite, or the model predicts NaN.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, not {guidance}")
    shape, device = model.settings.codec.shape, model.device
    noise = standard_normal(seed, _STREAM, list(range(count)), shape).to(device)  # (N, C, H, W)
    asked = torch.tensor(prompts, device=device).repeat_interleave(count)  # (P * N,)
    start = noise.repeat(len(prompts), 1, 1, 1)  # (P * N, C, H, W)
    parts = list(zip(torch.split(start, _AT_ONCE), torch.split(asked, _AT_ONCE), strict=True))
    drawn = []
    for number, (xT, ids) in enumerate(parts):

        def advance(done: int, total: int, before: int = number) -> None:
            progress(before * total + done, len(parts) * total)

        drawn.append(ddim(guided(model, ids, guidance), model.schedule, xT, steps, advance))
    x0 = torch.cat(drawn)
    if not bool(x0.isfinite().all()):
        raise ValueError(f"model '{model.name}' predicts NaN or infinite noise")
    return x0.view(len(prompts), count, *shape)
