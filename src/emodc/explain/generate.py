"""Faces drawn by the weights that classify, guided by the null prompt if asked for.

Ho and Salimans, "Classifier-Free Diffusion Guidance" (arXiv 2207.12598), equation 6.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from emodc.method.ddim import Denoiser, ddim
from emodc.method.dpm_solver import dpm_solver
from emodc.method.prompts import null_prompt
from emodc.method.randomness import standard_normal
from emodc.method.schedule import Schedule
from emodc.model.model import Model
from emodc.support.timing import Progress, unheard

DEFAULT_STEPS = 50
"""Steps of the sampler, if the number is not chosen."""


class _Sampler(Protocol):
    def __call__(
        self, denoiser: Denoiser, schedule: Schedule, noise: Tensor, steps: int, progress: Progress
    ) -> Tensor: ...


SAMPLERS: Mapping[str, _Sampler] = {"ddim": ddim, "dpm-solver": dpm_solver}
"""What turns noise into images, by name: `emodc.method.ddim`, `emodc.method.dpm_solver`."""

_STREAM = 0xFACE  # of `counter_rng`
_AT_ONCE = 64  # images in one call of the network: bounds memory, does not change them


def guided(
    model: Model, prompts: Tensor, guidance: float, weights: Tensor | None = None
) -> Denoiser:
    """Return the denoiser of images under one prompt each, or a mixture of several.

    ``eps = eps_null + guidance (eps_c - eps_null)``: 1 is the prompt alone, more exaggerates what
    the prompt changes, 0 is the null prompt alone. Of a mixture, ``eps_c`` is the weighted mean of
    the prompts' predictions.

    Args:
        model: predicts the noise.
        prompts: (B,) or (B, M) int64 prompt ids, on the model's device.
        guidance: the weight w + 1 of the paper.
        weights: (B, M) float32, rows sum to 1; needed if there are several prompts.
    """
    named = prompts.view(len(prompts), -1)  # (B, M)
    asked = named
    if guidance != 1:
        null = torch.full_like(named[:, :1], null_prompt(len(model.label_set)))
        asked = torch.cat([named, null], dim=1)  # (B, M + 1)

    def denoiser(xt: Tensor, t: Tensor) -> Tensor:
        eps = model.predict_noise(xt, t, asked).float()  # (B, M or M + 1, C, H, W)
        if weights is None:
            mean = eps[:, 0]
        else:
            mean = torch.einsum("bm,bmchw->bchw", weights, eps[:, : weights.shape[1]])
        return mean if guidance == 1 else eps[:, -1] + guidance * (mean - eps[:, -1])

    return denoiser


@torch.inference_mode()
def generate(
    model: Model,
    prompts: Sequence[int],
    count: int,
    *,
    steps: int = DEFAULT_STEPS,
    guidance: float = 1.0,
    sampler: str = "ddim",
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
        steps: S of the sampler, calls of the network for each image.
        guidance: see `guided`.
        sampler: of `SAMPLERS`.
        seed: of the noise.
        progress: is told after every call of the network.

    Returns:
        (P, N, C, H, W) float32, x0 on the model's device; `Codec.decode` makes them viewable.

    Raises:
        ValueError: the model is discriminative, ``count`` is below 1, ``steps`` out of range,
            ``guidance`` not finite or there is no such sampler, or the model predicts NaN.
    """
    asked = torch.tensor(prompts, device=model.device).unsqueeze(1)  # (P, 1)
    return _draw(model, asked, None, count, steps, guidance, sampler, seed, progress)


@torch.inference_mode()
def interpolate(
    model: Model,
    first: int,
    second: int,
    shares: Sequence[float],
    count: int,
    *,
    steps: int = DEFAULT_STEPS,
    guidance: float = 1.0,
    sampler: str = "ddim",
    seed: int = 0,
    progress: Progress = unheard,
) -> Tensor:
    """Draw images on the way from one prompt to another, from the same noise.

    Args:
        model: draws them.
        first: prompt id.
        second: prompt id.
        shares: P shares of the second prompt in the mixture (`guided`), in [0, 1].
        count: images N at each; image i is that of `generate`.
        steps: see `generate`.
        guidance: see `generate`.
        sampler: see `generate`.
        seed: see `generate`.
        progress: see `generate`.

    Returns:
        (P, N, C, H, W) float32, as `generate` returns them.

    Raises:
        ValueError: as `generate`.
    """
    of_second = torch.tensor(shares, device=model.device)  # (P,)
    weights = torch.stack([1 - of_second, of_second], dim=1)  # (P, 2)
    asked = torch.tensor([first, second], device=model.device).expand(len(shares), -1)  # (P, 2)
    return _draw(model, asked, weights, count, steps, guidance, sampler, seed, progress)


def _draw(
    model: Model,
    prompts: Tensor,
    weights: Tensor | None,
    count: int,
    steps: int,
    guidance: float,
    sampler: str,
    seed: int,
    progress: Progress,
) -> Tensor:
    """Draw ``count`` images under each mixture of prompts (P, M)."""
    if count < 1:
        raise ValueError(f"count must be at least 1, not {count}")
    if not math.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, not {guidance}")
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is one of {', '.join(SAMPLERS)}, not '{sampler}'")
    shape, device = model.settings.codec.shape, model.device
    noise = standard_normal(seed, _STREAM, list(range(count)), shape).to(device)  # (N, C, H, W)
    start = noise.repeat(len(prompts), 1, 1, 1)  # (P * N, C, H, W)
    row = torch.arange(len(prompts), device=device).repeat_interleave(count)  # (P * N,)
    parts = list(zip(torch.split(start, _AT_ONCE), torch.split(row, _AT_ONCE), strict=True))
    drawn = []
    for number, (xT, rows) in enumerate(parts):

        def advance(done: int, total: int, note: str = "", before: int = number) -> None:
            progress(before * total + done, len(parts) * total)

        shares = None if weights is None else weights[rows]
        denoiser = guided(model, prompts[rows], guidance, shares)
        drawn.append(SAMPLERS[sampler](denoiser, model.schedule, xT, steps, advance))
    x0 = torch.cat(drawn)
    if not bool(x0.isfinite().all()):
        raise ValueError(f"model '{model.name}' predicts NaN or infinite noise")
    return x0.view(len(prompts), count, *shape)
