"""Whether a model should account for the noise that images carry, decided on validation data.

Accounting for noise (`emodc.method.noise_level`, `emodc.method.errors`) should help on noisy
images and cost nothing on clean ones. Whether it does is measured on images with Gaussian noise
added, and it is kept only if it does. The same images show by which gain their errors must
be multiplied for the temperature of clean images to suit them.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from emodc.calibration.posterior import fit_posterior
from emodc.codecs import PixelCodec
from emodc.corruptions import corrupt
from emodc.data.face_data import FaceData
from emodc.data.subset import stratified_subset
from emodc.evaluation.metrics import accuracy
from emodc.faces.geometry import FER2013_GEOMETRY
from emodc.inference.dataset_scores import Scores, score_errors, score_images
from emodc.method.errors import class_logits, mean_errors
from emodc.method.noise_level import diagonal_detail, error_gain
from emodc.model.decision import NoiseFloor
from emodc.model.model import Model
from emodc.support.distributed import ALONE, World
from emodc.support.timing import Progress, unheard

NOISE = "gaussian_noise"
"""The corruption that accounting for noise is tried on."""

_SEVERITIES = (1, 3, 5)
_IMAGES, _STEPS = 500, 20  # of each trial
_CLEAN = 0.99  # share of clean images that count as clean
_COST = 0.005  # accuracy on clean images that accounting for noise may cost
_GAINS = (0.0, *(2 ** (i / 8) for i in range(-16, 65)))  # 1/4 to 256


def account_for_noise(
    model: Model,
    data: FaceData,
    *,
    seed: int = 0,
    folder: Path | None = None,
    progress: Progress = unheard,
    world: World = ALONE,
) -> tuple[Model, dict[str, Any]]:
    """Fit how clean images look, and let the model account for noise where that helps it.

    Args:
        model: what to decide on; its weights stay as they are.
        data: clean validation images.
        seed: of the choice of images, of the draws and of the noise.
        folder: where measured errors are kept.
        progress: is told how far each trial is.
        world: the processes that share the measuring; all of them get the model.

    Returns:
        The model, with a noise floor or without, and the figures that decided: accuracies on clean
        and on noisy images (by severity), with and without accounting for noise; and the loss on
        the noisy ones (nats) without the gain of the floor and with it. Without a floor
        and figures where noise cannot be estimated: a model that is shown no noise, or x0 that
        are latents.

    Raises:
        ValueError: no image can be read; ``folder`` holds other errors.
        OSError: ``folder`` cannot be written.
    """
    plain = model.ignoring_noise()
    if not (model.sees_noise and isinstance(model.settings.codec, PixelCodec)):
        return plain, {}
    floor = _noise_floor(model, data)
    aware = model.with_noise_floor(floor)
    chosen = data.subset(stratified_subset(data.labels, min(_IMAGES, len(data)), seed))
    trials, measured = [], []
    for severity in (0, *_SEVERITIES):
        images = _noisy(chosen, severity, seed) if severity else chosen
        right = {}
        for name, candidate in (("plain", plain), ("noise_aware", aware)):
            scores = score_images(
                candidate,
                images,
                score_errors(candidate, steps=_STEPS, seed=seed),
                {"steps": _STEPS, "seed": seed},
                folder=None if folder is None else folder / f"noise-{severity}-{name}",
                progress=progress,
                world=world,
            )
            labels = torch.from_numpy(images.labels)[scores.index]
            right[name] = _accuracy(scores.values["errors"], labels)
        measured.append((scores, labels))  # of the model that accounts for noise
        trials.append({"severity": severity, "images": len(labels), **right})
    clean, *noisy = trials
    helped = sum(trial["noise_aware"] - trial["plain"] for trial in noisy) / len(noisy)
    kept = helped > 0 and clean["noise_aware"] >= clean["plain"] - _COST
    figures = {"noise": NOISE, "steps": _STEPS, "trials": trials, "kept": kept}
    if not kept:
        return plain, figures
    losses = _losses(*measured)
    gain = min(losses, key=losses.__getitem__)
    figures |= {"loss_without_gain": losses[0.0], "loss": losses[gain]}
    return model.with_noise_floor(floor.model_copy(update={"gain": gain})), figures


def _losses(clean: tuple[Scores, Tensor], *noisy: tuple[Scores, Tensor]) -> dict[float, float]:
    """Return by gain the loss on noisy images under the posterior that clean ones fit."""
    scale, power = fit_posterior(_means([clean]), clean[1])
    means, labels = _means(noisy), torch.cat([labels for _, labels in noisy])
    sigma = torch.cat([scores.values["sigma"] for scores, _ in noisy]).double().unsqueeze(1)
    return {
        gain: float(
            F.cross_entropy(class_logits(error_gain(gain, sigma) * means, scale, power), labels)
        )
        for gain in _GAINS
    }


def _means(trials: Sequence[tuple[Scores, Tensor]]) -> Tensor:
    return torch.cat([mean_errors(scores.values["errors"]) for scores, _ in trials])


def _noise_floor(model: Model, data: FaceData) -> NoiseFloor:
    """Return the typical detail of clean images, and the most that counts as clean."""
    # Images that cannot be read are skipped, and named, when they are scored.
    details = [diagonal_detail(model.settings.codec.encode([each])) for each in data.readable()]
    if not details:
        raise ValueError(f"{data.name}: no image can be read")
    detail = torch.cat(details)
    least = float(detail.quantile(_CLEAN))
    return NoiseFloor(texture=float(detail.median()), least=min(least, 1 - 1e-6))


def _noisy(data: FaceData, severity: int, seed: int) -> FaceData:
    geometry = data.geometry or FER2013_GEOMETRY
    return replace(
        data,
        reader=lambda i: corrupt(data.image(i), NOISE, severity, seed, i, geometry),
        stamp=lambda i: f"{data.stamp(i)}/{NOISE}/{severity}/{seed}",
    )


def _accuracy(errors: Tensor, labels: Tensor) -> float:
    """Return it by the errors alone: what was fitted before must not sway what is fitted now."""
    return accuracy(mean_errors(errors).argmin(dim=1), labels)
