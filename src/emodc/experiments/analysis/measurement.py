"""What an analysis rests on: errors of the same faces, with the same draws, under all prompts.

Faces are shown to each model as its decision says: mirrored in every other draw, or as images that
carry noise. So the answers are those that the model gives anywhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from emodc.data.face_data import FaceData
from emodc.evaluation.face_sample import choose_sample, shared_columns
from emodc.inference.dataset_scores import Score, score_images, unscored
from emodc.method.prompts import non_class_prompt, null_prompt, other_classes
from emodc.model.identity import model_identity
from emodc.model.model import Model
from emodc.support.timing import Cost, Progress, seconds_of, unheard

ERRORS = "errors"
"""The folder of measured errors, within that of the figures."""

_LEAST = 8  # faces: quartiles and correlations of fewer say nothing
_PROBED = 8  # draws that the speed is measured on


@dataclass(frozen=True)
class Measured:
    """The errors of one model, N images, S draws, and K' classes that model and data share.

    Attributes:
        name: what the model is called in figures.
        classes: K' names.
        labels: (N,) int64, true classes among these.
        t: (S,) int64, ascending timesteps of the draws, which all models share; an image that
            carries noise arrives at noisier ones.
        sigma: (S,) float32, their noise levels in units of x0.
        errors: (N, K', S) float32, under the class prompts.
        d_null: (N, S) float32, under the null prompt.
        d_nc: (N, S) float32, under the non-class prompt.
        weights: (S,) float64 of mean 1, the model's weights of the draws.
        probabilities: (N, K') float64, the model's answers from all draws.
    """

    name: str
    classes: tuple[str, ...]
    labels: Tensor
    t: Tensor
    sigma: Tensor
    errors: Tensor
    d_null: Tensor
    d_nc: Tensor
    weights: Tensor
    probabilities: Tensor

    @cached_property
    def d_p(self) -> Tensor:
        """(N, S) float64: errors under the true class."""
        return self.errors[torch.arange(len(self.labels)), self.labels].double()

    @cached_property
    def d_n(self) -> Tensor:
        """(N, K'-1, S) float64: errors under the other classes, in label order."""
        others = other_classes(self.labels, len(self.classes))  # (N, K'-1)
        return self.errors[torch.arange(len(others)).unsqueeze(1), others].double()


class Measurement:
    """Measures models on the same faces with the same draws, and keeps what is finished.

    Args:
        models: by the name that figures use; the first is what the others are compared with.
        data: face crops.
        output: folder of the analysis; errors are kept in it and found again.
        steps: S, draws for each image.
        limit: take a stratified subset of this many faces; None: all.
        seed: of the draws and of the choice of faces.

    Attributes:
        models: as given.
        sample: the faces.
        t: (S,) int64, timesteps of the draws.
        folder: of the errors.
        seed: as given.

    Raises:
        ValueError: a model that has no prompts, models that cannot be compared, too few faces or
            common classes, or ``steps`` or ``limit`` out of range.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        data: FaceData,
        output: Path,
        *,
        steps: int = 100,
        limit: int | None = 300,
        seed: int = 0,
    ) -> None:
        require_comparable(models)
        first = next(iter(models.values()))
        self.models = dict(models)
        self.t = first.decision.timesteps(first.schedule.timesteps, steps)
        self.sample = choose_sample(data, [first.label_set], limit, seed)
        if len(self.sample.labels) < _LEAST:
            raise ValueError(
                f"an analysis takes at least {_LEAST} faces, not {len(self.sample.labels)}"
            )
        self.folder, self.seed = output / ERRORS, seed
        self._settings: dict[str, object] = {
            "steps": steps,
            "seed": seed,
            "prompts": "K + 2",
            "draws": "the model's own",
        }

    def cost(self) -> list[Cost]:
        """Measure the models' speed and return what is still to be done for each."""
        return [self._cost_of(name, model) for name, model in self.models.items()]

    def run(self, progress: Progress = unheard) -> list[Measured]:
        """Measure what is missing and return everything, in the order of the models.

        Raises:
            ValueError: the folder holds errors of other faces or settings, or a model predicts NaN.
            OSError: the folder cannot be written.
        """
        faces = len(self.sample.labels)
        total, found = faces * len(self.models), []
        for number, (name, model) in enumerate(self.models.items()):
            scores = score_images(
                model,
                self.sample.data,
                self._score(model),
                self._settings,
                folder=self._folder_of(model),
                progress=_within(progress, number * faces, total, name),
            )
            if not bool(scores.values["errors"].isfinite().all()):
                raise ValueError(
                    f"model '{name}' predicts NaN or infinite noise: its weights diverged"
                )
            found.append(
                self._measured(name, model, scores.values["errors"], scores.values["sigma"])
            )
        return found

    def _score(self, model: Model) -> Score:
        prompts = len(model.label_set) + 2  # the ids after the classes: null, non-class
        bank = model.draws(len(self.t), self.seed)

        def score(x0: Tensor) -> dict[str, Tensor]:
            errors = model.class_errors(x0, bank, prompts=prompts)
            return {"errors": errors, "sigma": model.observe(x0)[1].cpu()}

        return score

    def _measured(self, name: str, model: Model, counted: Tensor, sigma: Tensor) -> Measured:
        """Name the parts of errors (N, K+2, S), as the decision counts them, at noise (N,)."""
        classes, t, timesteps = len(model.label_set), self.t, model.schedule.timesteps
        shared = shared_columns(model.label_set, self.sample.classes)
        deciding = model.decision.among(shared.tolist())
        errors = counted / model.noise_gain(sigma).view(-1, 1, 1)
        return Measured(
            name=name,
            classes=self.sample.classes,
            labels=self.sample.labels,
            t=t,
            sigma=model.schedule.sigma(t),
            errors=errors[:, shared],
            d_null=errors[:, null_prompt(classes)],
            d_nc=errors[:, non_class_prompt(classes)],
            weights=model.decision.weights_at(t, timesteps),
            probabilities=deciding.probabilities(counted, t, timesteps),
        )

    def _folder_of(self, model: Model) -> Path:
        # By its weights: it can be called something else the next time.
        return self.folder / model_identity(model)["weights"][:16]

    def _cost_of(self, name: str, model: Model) -> Cost:
        images = unscored(self._folder_of(model), len(self.sample.labels))
        prompts = len(model.label_set) + 2
        pairs = images * len(self.t)
        passes = pairs if model.backbone.shares_trunk else pairs * prompts
        seconds = self._seconds_per_pair(model) * pairs if images else 0.0
        amounts = {"images to measure": images, "network evaluations": passes}
        return Cost(name, amounts, seconds)

    def _seconds_per_pair(self, model: Model) -> float:
        x0 = model.settings.codec.encode([self.sample.data.image(0)], model.device)
        bank, prompts = model.draws(_PROBED), len(model.label_set) + 2
        return seconds_of(lambda: model.class_errors(x0, bank, prompts=prompts)) / len(bank)


def _within(progress: Progress, before: int, whole: int, name: str) -> Progress:
    """Return what tells how far one model is as how far they all are."""
    return lambda done, total, note="": progress(before + done, whole, name)


def require_comparable(models: Mapping[str, Model]) -> None:
    """Refuse models whose errors cannot stand side by side.

    Args:
        models: by the name that an error message uses.

    Raises:
        ValueError: there is none, one predicts no noise, or one has another schedule, codec,
            label set or range of timesteps than the first.
    """
    if not models:
        raise ValueError("give at least one model")
    for name, model in models.items():
        if not model.backbone.generative:
            raise ValueError(
                f"model '{name}' is a discriminative classifier: it has no prompts and predicts no "
                "noise, so it has no errors to analyze"
            )
    (first_name, first), *others = models.items()
    for name, model in others:
        for what, its, needed in (
            ("noise schedule", model.settings.schedule, first.settings.schedule),
            ("codec", model.settings.codec, first.settings.codec),
            ("label set", model.label_set, first.label_set),
            ("range of timesteps", model.decision.span, first.decision.span),
        ):
            if its != needed:
                raise ValueError(
                    f"models '{name}' and '{first_name}' cannot be compared: another {what}"
                )
