"""Where in a face the evidence for one class against another lies.

The diffusion classifier answers the class a whose prompt predicts the noise best. How much worse
class b does is a sum over the pixels (i, j) of the image,

    logit_a - logit_b = sum_ij E_ij,
    E_ij = scale * mean_s w_s [(rho eps_theta(xt, t, b) - eps)^2_ij
                               - (rho eps_theta(xt, t, a) - eps)^2_ij] / (C H W)

with the weights, draws, mirror images and noise level that decide (`emodc.method.errors`), summed
over the channels of x0. A class prior, where one was asked for, adds a constant that lies in no
pixel, and is told apart (`Evidence.prior`).

E is what is shown here: no gradient, no surrogate, but the terms of the score itself, smoothed as
far as the draws ask for (`emodc.explain.map_smoothing`), which keeps the sum. It says where the
noise is predicted better. Whether that is where the classes are told apart depends on the network:
see docs/explanations.md.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from emodc.explain.map_smoothing import (
    LEAST_DRAWS,
    Map,
    significant,
    smoothed,
    standard_error,
    supported_width,
)
from emodc.faces.geometry import CropGeometry
from emodc.method.draws import noisier_timesteps
from emodc.model.model import Model

DEFAULT_STEPS = 100
"""Draws for a map, with a model that was not calibrated; else as many as it was calibrated for."""

FALSE_DISCOVERIES = 0.05
"""Share of pixels marked as significant that are so by chance, on average."""

_BANDS = 3


@dataclass(frozen=True, eq=False)
class Band:
    """What the draws of some noise levels add to a map.

    Attributes:
        low: least noise level, in standard deviations of x0.
        high: greatest noise level.
        map: (H, W); the maps of all bands add up to the whole.
    """

    low: float
    high: float
    map: Map

    @property
    def total(self) -> float:
        """What the band adds to the difference of the logits."""
        return float(self.map.sum())


@dataclass(frozen=True, eq=False)
class Evidence:
    """What every pixel of a face says for one class against another.

    Attributes:
        label: name of the class that positive values speak for.
        against: name of the class that negative values speak for.
        probabilities: by class name, with all the draws.
        map: (H, W) float64 on the pixels of x0, upright; its sum is ``difference - prior``.
        standard_error: (H, W), of the map: what another seed of the draws would change.
        significant: (H, W), the pixels that differ from 0, at a false discovery rate of
            `FALSE_DISCOVERIES`.
        difference: logit of ``label`` less that of ``against``.
        prior: what of it the class prior adds, which lies in no pixel; 0 if none was asked for.
        difference_error: its standard error.
        bands: from little noise, in which details are judged, to much.
        smoothing: standard deviation of the Gaussian in pixels of x0; 0 for none.
        steps: draws.
        seed: of the draws.
    """

    label: str
    against: str
    probabilities: dict[str, float]
    map: Map
    standard_error: Map
    significant: NDArray[np.bool_]
    difference: float
    prior: float
    difference_error: float
    bands: tuple[Band, ...]
    smoothing: float
    steps: int
    seed: int

    def by_region(self, geometry: CropGeometry) -> dict[str, float]:
        """Return the difference by part of the face; the parts add up to it.

        The face is cut halfway between the eyes and the tip of the nose, and halfway between that
        and the corners of the mouth.

        Args:
            geometry: where the crop shows the landmarks.
        """
        eyes, nose, mouth = (
            np.mean([geometry.landmarks[i][1] for i in which]) for which in ((0, 1), (2,), (3, 4))
        )
        height = len(self.map)
        cuts = [round(height * (eyes + nose) / 2), round(height * (nose + mouth) / 2)]
        names = ("brows and eyes", "nose and cheeks", "mouth and chin")
        parts = np.split(self.map, cuts)
        return {name: float(part.sum()) for name, part in zip(names, parts, strict=True)}


@dataclass(frozen=True, eq=False)
class ScoredPixels:
    """What every pixel of a face adds to the logit of every class.

    Attributes:
        model: whose.
        shares: (K, S, H, W) float64, for the K classes of `Model.answers`; the mean over the draws
            S, summed over pixels, is the logit less the prior.
        priors: (K,) float64, what the class prior adds.
        logits: (K,) float64, see `emodc.model.decision.Decision.logits`.
        probabilities: (K,) float64, see `emodc.model.decision.Decision.probabilities`.
        t: (S,) int64, timesteps at which the face was shown, rising.
        seed: of the draws.
    """

    model: Model
    shares: Map
    priors: Map
    logits: Map
    probabilities: Map
    t: Tensor
    seed: int

    def evidence(self, label: str | None = None, against: str | None = None) -> Evidence:
        """Return the evidence for one class against another.

        Args:
            label: name or alias of a class; the most probable one if not given, or the next after
                it if that is ``against``.
            against: name or alias of another; the most probable other one if not given.

        Raises:
            ValueError: no such class, or twice the same.
        """
        a, b = self._pair(label, against)
        decision = self.model.decision
        per_draw: Map = self.shares[a] - self.shares[b]  # (S, H, W)
        width = supported_width(per_draw, decision.mirror)
        maps = smoothed(per_draw, width)
        mean, error = maps.mean(axis=0), standard_error(maps, decision.mirror)
        names, steps = self.model.answers.classes, len(maps)
        totals = per_draw.sum(axis=(1, 2))  # (S,)
        return Evidence(
            label=names[a],
            against=names[b],
            probabilities=dict(zip(names, self.probabilities.tolist(), strict=True)),
            map=mean,
            standard_error=error,
            significant=significant(mean, error, steps, FALSE_DISCOVERIES),
            difference=float(self.logits[a] - self.logits[b]),
            prior=float(self.priors[a] - self.priors[b]),
            difference_error=float(standard_error(totals, decision.mirror)),
            bands=self._bands(maps),
            smoothing=width,
            steps=steps,
            seed=self.seed,
        )

    def _pair(self, label: str | None, against: str | None) -> tuple[int, int]:
        index = self.model.answers.index
        order = np.argsort(-self.logits, kind="stable").tolist()
        b = None if against is None else index(against)
        a = next(c for c in order if c != b) if label is None else index(label)
        if b is None:
            b = next(c for c in order if c != a)
        if a == b:
            name = self.model.answers.classes[a]
            raise ValueError(f"there is no evidence for {name} against itself: name two classes")
        return a, b

    def _bands(self, maps: Map) -> tuple[Band, ...]:
        levels = self.model.schedule.sigma(self.t).tolist()
        parts = np.array_split(np.arange(len(maps)), _BANDS)
        return tuple(
            Band(levels[part[0]], levels[part[-1]], maps[part].sum(axis=0) / len(maps))
            for part in parts
        )


def score_pixels(
    model: Model, x0: Tensor, *, steps: int | None = None, seed: int = 0
) -> ScoredPixels:
    """Score one face, pixel by pixel.

    Args:
        model: a diffusion model.
        x0: (1, C, H, W) on the model's device.
        steps: draws; if not given, as many as the model was calibrated for, else `DEFAULT_STEPS`.
        seed: of the draws.

    Raises:
        ValueError: the model is a discriminative baseline, ``steps`` is out of range or below
            `LEAST_DRAWS`, or the model predicts NaN.
    """
    adaptive = model.decision.adaptive
    if steps is None:
        most = min(DEFAULT_STEPS, model.schedule.timesteps)
        steps = most if adaptive is None else adaptive.steps
    bank = model.draws(steps, seed)
    errors = model.pixel_errors(x0, bank)[0].double()  # (K, S, H, W)
    if steps < LEAST_DRAWS:
        raise ValueError(f"a map takes at least {LEAST_DRAWS} draws, not {steps}")
    if not bool(errors.isfinite().all()):
        raise ValueError(f"model '{model.name}' answers NaN or infinity: its weights diverged")
    decision, timesteps = model.decision, model.schedule.timesteps
    by_class = errors.sum(dim=(2, 3)).unsqueeze(0)  # (1, K, S)
    asked, handicap = model.columns, decision.handicap(len(errors))
    weights = decision.weights_at(bank.t, timesteps).view(-1, 1, 1)
    _, sigma = model.observe(x0)
    return ScoredPixels(
        model=model,
        shares=(-decision.scale * weights * errors[asked]).numpy(),
        priors=(-decision.scale * handicap).numpy(),
        logits=decision.logits(by_class, bank.t, timesteps)[0].numpy(),
        probabilities=decision.probabilities(by_class, bank.t, timesteps)[0].numpy(),
        t=noisier_timesteps(model.schedule, bank.t, sigma.cpu().repeat(len(bank))),
        seed=seed,
    )
