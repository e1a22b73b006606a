"""Whether a face is like those that the model was trained on; see `emodc.model.typicality`."""

from dataclasses import replace

import torch
from torch import Tensor

from emodc.method.prompts import null_prompt
from emodc.model.model import Model
from emodc.model.typicality import Typicality

_SEED = 0  # of the draws: those of the reference


def null_errors(model: Model, x0: Tensor, steps: int) -> Tensor:
    """Return the errors under the null prompt, of images and of images turned upside down.

    The images are taken as they are: noise in them is not accounted for, but makes them atypical.

    Args:
        model: a diffusion model.
        x0: (B, C, H, W) on the model's device.
        steps: M draws.

    Returns:
        (B, 2, M) float32, on the CPU.

    Raises:
        ValueError: the model is discriminative.
    """
    if not model.backbone.generative:
        raise ValueError(f"'{model.name}' is discriminative: it knows no typical faces")
    everywhere = model.decision.model_copy(update={"noise_floor": None, "span": None})
    plain = replace(model, decision=everywhere)
    bank = plain.draws(steps, _SEED)
    image = torch.arange(len(x0)).repeat_interleave(steps)
    draw = torch.arange(steps).repeat(len(x0))
    prompts = torch.full((len(image), 1), null_prompt(len(model.label_set)))
    found = [
        plain.measure(x, draws)(image, draw, prompts).view(len(x0), steps)
        for x, draws in (
            (x0, bank),
            (x0.flip(-2), replace(bank, eps=bank.eps.flip(-2))),
        )
    ]
    return torch.stack(found, dim=1)


def check_rejection(model: Model, alpha: float) -> None:
    """Refuse to reject faces where that makes no sense.

    Args:
        model: that shall tell which faces are typical.
        alpha: share of typical faces that may be rejected.

    Raises:
        ValueError: the model was not calibrated for it, or ``alpha`` is not in [0, 1).
    """
    if not 0 <= alpha < 1:
        raise ValueError(f"reject is a share from 0 to below 1, not {alpha:g}")
    _known(model)


def typicality(model: Model, x0: Tensor) -> Tensor:
    """Return how typical faces are, by `emodc.model.typicality.Typicality.p_values`.

    Args:
        model: calibrated.
        x0: (B, C, H, W) on the model's device.

    Returns:
        (B,) float64 in (0, 1].

    Raises:
        ValueError: the model was not calibrated for it.
    """
    known = _known(model)
    return known.p_values(null_errors(model, x0, known.steps))


def _known(model: Model) -> Typicality:
    if model.typicality is None:
        raise ValueError(
            f"model '{model.name}' does not know which faces are typical: run emodc calibrate on a "
            "diffusion model"
        )
    return model.typicality
