"""What is tested: classifiers of face crops, diffusion or not, behind one interface."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.attacks.victims import Victim
from emodc.inference.scorer import Scorer, require_adaptive
from emodc.inference.victim import BANKS, diffusion_victim
from emodc.labels import LabelSet
from emodc.method.draws import check_steps
from emodc.model.identity import model_identity
from emodc.model.model import Model


class Subject(Protocol):
    """A classifier under test."""

    @property
    def name(self) -> str:
        """What it is called in the report; no two subjects of a comparison share a name."""

    @property
    def label_set(self) -> LabelSet:
        """Its K classes, in the order of its answers."""

    @property
    def draws(self) -> int:
        """Most draws for an answer; 0 where the classifier has none."""

    @property
    def differentiable(self) -> bool:
        """Whether its victim's logits have gradients; otherwise only `square` can attack it."""

    @property
    def surrogate(self) -> "Subject | None":
        """Whose gradients an attack on it follows, if it has none of its own."""

    @property
    def identity(self) -> Mapping[str, str]:
        """What decides its answers (weights, settings), by the name that an error message uses."""

    def answers(self, crops: Sequence[NDArray[np.uint8]], seed: int) -> tuple[Tensor, Tensor]:
        """Return probabilities and the draws they took, on the CPU.

        Args:
            crops: B face crops at their native resolution, uint8 gray or RGB.
            seed: of the draws.

        Returns:
            (B, K) float64, rows sum to 1; (B,) int64, at most `draws`.
        """

    def pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return crops as an attacker changes them: (B, C, H, W) float32 in [0, 1]."""

    def victim(self) -> Victim:
        """Return what is attacked: the deployed rule as a function of `pixels`."""


@dataclass(frozen=True)
class ModelSubject:
    """A model or a baseline under test, with plain scoring; see `Subject`.

    Attributes:
        model: what answers.
        steps: S, the draws for each answer, where it has draws.
        name: what it is called in the report.

    Raises:
        ValueError: ``steps`` is out of range.
    """

    model: Model
    steps: int
    name: str

    def __post_init__(self) -> None:
        check_steps(self.steps, self.model.schedule.timesteps)

    @property
    def draws(self) -> int:
        """S; 0 if the model is shown no noise."""
        return self.steps if self.model.sees_noise else 0

    @property
    def differentiable(self) -> bool:
        """Whether gradients reach the image: not through an ONNX file."""
        return self.model.backbone.differentiable

    @property
    def surrogate(self) -> None:
        """None: it has its own gradients, or none that stand for them."""
        return None

    @property
    def label_set(self) -> LabelSet:
        """The classes that the model answers with."""
        return self.model.answers

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """Weights, settings, precision, and the number of draws."""
        decision = self.model.decision.model_dump_json()
        return model_identity(self.model) | {"decision": decision, "steps": str(self.draws)}

    def answers(self, crops: Sequence[NDArray[np.uint8]], seed: int) -> tuple[Tensor, Tensor]:
        """Return the answers of the deployed rule."""
        scorer = Scorer(self.model, steps=self.steps, seed=seed)
        x0 = self.model.settings.codec.encode(crops, self.model.device)
        return scorer(x0).probabilities, torch.full((len(crops),), self.draws)

    def pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return crops at the codec's size and colors, (B, C, H, W) in [0, 1]."""
        pixels = self.model.settings.codec.to_pixels(crops).to(self.model.device)
        return pixels.to(torch.float32) / 255

    def victim(self) -> Victim:
        """Return the deployed rule with plain scoring; every term of it has its gradient."""
        return diffusion_victim(self.model, self.steps)


@dataclass(frozen=True)
class SequentialSubject:
    """A calibrated model that takes as many draws as it needs; see `Subject`.

    Where it stops has no gradient. Attacks follow those of plain scoring with all of its draws,
    whose answer it gives to nearly all clean images.

    Attributes:
        model: what answers.
        delta: share of answers that may differ from those of all draws.
        name: what it is called in the report.

    Raises:
        ValueError: the model was not calibrated, or not for such a delta.
    """

    model: Model
    delta: float
    name: str

    def __post_init__(self) -> None:
        require_adaptive(self.model).stop(self.delta)

    @property
    def draws(self) -> int:
        """All the draws there are."""
        return require_adaptive(self.model).steps

    @property
    def differentiable(self) -> bool:
        """False."""
        return False

    @cached_property
    def surrogate(self) -> ModelSubject:
        """Plain scoring with all draws."""
        return ModelSubject(self.model, self.draws, "plain scoring")

    @property
    def label_set(self) -> LabelSet:
        """The classes that the model answers with."""
        return self.model.answers

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """Weights, settings, precision, and the promise."""
        return {**self.surrogate.identity, "delta": str(self.delta)}

    def answers(self, crops: Sequence[NDArray[np.uint8]], seed: int) -> tuple[Tensor, Tensor]:
        """Return the answers of the deployed rule."""
        x0 = self.model.settings.codec.encode(crops, self.model.device)
        answers = self._scorer(seed)(x0)
        return answers.probabilities, answers.draws

    def pixels(self, crops: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return crops at the codec's size and colors, (B, C, H, W) in [0, 1]."""
        return self.surrogate.pixels(crops)

    def victim(self) -> Victim:
        """Return the deployed rule, without gradients."""
        scorer_of = lru_cache(BANKS)(self._scorer)

        def answer(pixels: Tensor, seed: int) -> Tensor:
            x0 = self.model.settings.codec.to_x0(255 * pixels)
            return scorer_of(seed)(x0).probabilities.to(pixels.device)

        return Victim(answer)

    def _scorer(self, seed: int) -> Scorer:
        return Scorer(self.model, delta=self.delta, seed=seed)
