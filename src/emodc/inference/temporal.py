"""Temporal evidence: the errors of a person's neighboring frames decide together.

Noise-prediction errors stand for log-likelihoods, and those of several looks at one expression add
up. Each frame of a person therefore takes only a few draws, and its answer comes from all recent
ones, which count less the older they are:

    D_c = sum_f a_f sum_s w_s d_c,s(x_f) / sum_f a_f sum_s w_s,    a_f = 2^(-age of f / half-life)

A weighted mean, and no sum: neighboring frames are nearly copies of each other, and the temperature
was fitted for means.

**New draws for every frame.** With the same draws, the errors that they make are the same in
neighboring frames too, and no mean gets rid of them; that is right when frames are judged one by
one, where common random numbers make them comparable (Glasserman and Yao, Management Science 1992),
and wrong here. So a frame goes on where the person's last one stopped, in the order of
`emodc.method.sequential.draw_order`: every few frames span the timesteps, and over S draws a still
face gets the very answer that S draws of one image give. Temporal antialiasing takes its samples
in the same way: a low-discrepancy sequence over frames, and an exponential window (Yang, Liu and
Salvi, "A Survey of Temporal Antialiasing Techniques", Computer Graphics Forum 2020).
``benchmarks/temporal.py`` measures both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from emodc.method.sequential import draw_order
from emodc.model.model import Model

DRAWS = 4
"""Draws a frame."""

HALF_LIFE = 0.2
"""Seconds after which a frame counts half."""

CYCLE = 100
"""Draws after which those of a person begin again, with a model that was not calibrated."""

_FORGOTTEN = 40  # half-lives after which a person's evidence is less than rounding


@dataclass(frozen=True)
class Sight:
    """A face in a frame.

    Attributes:
        person: whose.
        time: of the frame, in seconds; does not fall from one sight of a person to the next.
    """

    person: int
    time: float


@dataclass
class Evidence:
    """What was seen of a person so far.

    Attributes:
        total: (K,) float64, the weighted sum of errors.
        weight: the sum of their weights.
        time: of the last frame.
        draws: taken so far.
    """

    total: Tensor
    weight: float = 0.0
    time: float = 0.0
    draws: int = 0

    def add(self, errors: Tensor, weights: Tensor, time: float, half_life: float) -> Tensor:
        """Take in a frame's errors (K, n) with their weights (n,), and return D, (K,) float64."""
        age = max(time - self.time, 0.0)
        kept = 2.0 ** (-age / half_life) if half_life > 0 else 0.0
        self.total = kept * self.total + (errors.double() * weights).sum(dim=1)
        self.weight = kept * self.weight + float(weights.sum())
        self.time = time
        self.draws += len(weights)
        return self.total / self.weight


class TemporalScorer:
    """Turns sights of faces into probabilities.

    Args:
        model: what scores.
        draws: n, for each frame. A model that is shown no noise takes what it needs instead.
        half_life: seconds after which a frame counts half; 0 for frames on their own.
        seed: of the draws.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        model: Model,
        draws: int = DRAWS,
        half_life: float = HALF_LIFE,
        seed: int = 0,
    ) -> None:
        if not 0 <= half_life < math.inf:
            raise ValueError(f"a half-life is a time in seconds from 0, not {half_life:g}")
        adaptive = model.decision.adaptive
        cycle = CYCLE if adaptive is None else adaptive.steps
        if not 1 <= draws <= cycle:
            raise ValueError(f"draws for a frame must be between 1 and {cycle}, not {draws}")
        self._model, self._half_life = model, half_life
        self._bank = model.draws(min(cycle, model.schedule.timesteps), seed)
        self._order = draw_order(len(self._bank))
        self._weights = model.decision.weights_at(self._bank.t, model.schedule.timesteps)
        self.draws = draws if model.sees_noise else len(self._bank)
        self._persons: dict[int, Evidence] = {}

    def __call__(self, x0: Tensor, sights: Sequence[Sight]) -> Tensor:
        """Return the probabilities (B, K) float64 of faces, in order.

        Args:
            x0: (B, C, H, W) on the model's device.
            sights: whose they are, and when; earlier ones first.

        Raises:
            ValueError: the model answers NaN or infinity.
        """
        drawn = self._drawn(sights)  # (B, n)
        image = torch.arange(len(sights)).repeat_interleave(self.draws)
        classes = torch.arange(len(self._model.label_set))
        measure = self._model.measure(x0, self._bank)
        errors = measure(image, drawn.flatten(), classes.expand(len(image), -1))  # (B n, K)
        errors = errors.view(len(sights), self.draws, -1).transpose(1, 2)  # (B, K, n)
        means = []
        for sight, d, draw in zip(sights, errors, drawn, strict=True):
            person = self._persons[sight.person]
            means.append(person.add(d, self._weights[draw], sight.time, self._half_life))
        if sights:
            self._forget(sights[-1].time)
        probabilities = self._model.decision.posterior(torch.stack(means))
        if not bool(probabilities.isfinite().all()):
            raise ValueError(
                f"model '{self._model.name}' answers NaN or infinity: its weights diverged, or "
                f"precision {self._model.precision} is too coarse for it"
            )
        return probabilities

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs, as JSON values."""
        return {
            str(number): [*person.total.tolist(), person.weight, person.time, person.draws]
            for number, person in self._persons.items()
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another scorer was, whose `state` this is.

        Raises:
            ValueError: this is not such a state.
        """
        classes = len(self._model.label_set)
        try:
            self._persons = {
                int(number): Evidence(
                    torch.tensor(values[:classes], dtype=torch.float64).view(classes),
                    weight=float(values[classes]),
                    time=float(values[classes + 1]),
                    draws=int(values[classes + 2]),
                )
                for number, values in state.items()
            }
        except (TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
            raise ValueError("not the state of a scorer") from error

    def _drawn(self, sights: Sequence[Sight]) -> Tensor:
        """Return which draws (B, n) each face is shown with: a person's go on from the last."""
        taken: dict[int, int] = {}
        rows = []
        for sight in sights:
            if sight.person not in self._persons:
                nothing = torch.zeros(len(self._model.label_set), dtype=torch.float64)
                self._persons[sight.person] = Evidence(nothing, time=sight.time)
            begin = taken.get(sight.person, self._persons[sight.person].draws)
            taken[sight.person] = begin + self.draws
            rows.append(self._order[(begin + torch.arange(self.draws)) % len(self._order)])
        return torch.stack(rows)

    def _forget(self, now: float) -> None:
        """Drop who has not been seen for so long that it changes no answer."""
        oldest = now - _FORGOTTEN * self._half_life - 1.0
        self._persons = {n: p for n, p in self._persons.items() if p.time >= oldest}
