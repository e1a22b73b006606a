"""Choosing the best model of a run by validation."""

import csv
import io
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emodc.calibration.posterior import fit_scale
from emodc.data import FaceData
from emodc.data.alignment import measured_geometry
from emodc.data.subset import stratified_subset
from emodc.evaluation.metrics import accuracy, mean_class_accuracy
from emodc.faces.geometry import CropGeometry
from emodc.method.schedule import Schedule
from emodc.model.decision import Decision
from emodc.model.model import Model
from emodc.model.store import save_model
from emodc.support.distributed import World
from emodc.training.class_prior import class_prior
from emodc.training.recipe import Recipe
from emodc.training.state import RunState, TrainingDiverged

logger = logging.getLogger(__name__)

VALIDATION = "validation.csv"
"""The file of a run that names the images which chose its best model."""


class ModelSelection:
    """Validates the averaged weights and keeps the best model.

    Validation is the classifier itself on a fixed subset, with few draws, in the arithmetic of
    training. Several processes share the images, get the same scores, and the main one writes.

    Args:
        recipe: says how many images and draws.
        training: what the model is trained on, for its description.
        validation: what it is chosen on.
        schedule: the noise schedule.
        device: where to validate.
        world: the processes that validate together.
        frequency: (K,) how often each class is a sample's true one.
        initial: facts about the model that training began with, if it did.

    Raises:
        ValueError: the two have different classes, or an image cannot be read.
    """

    def __init__(
        self,
        recipe: Recipe,
        training: FaceData,
        validation: FaceData,
        schedule: Schedule,
        device: torch.device,
        world: World,
        frequency: Tensor,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        if validation.label_set != training.label_set:
            raise ValueError(
                f"training has the classes {', '.join(training.label_set.classes)}, validation "
                f"{', '.join(validation.label_set.classes)}"
            )
        codec, settings = recipe.model.codec, recipe.validation
        subset = stratified_subset(validation.labels, settings.images, seed=0)
        self._subset = validation.subset(subset)
        share = world.share(range(len(subset)))
        crops = [validation.image(int(i)) for i in subset[share.start : share.stop]]
        nothing = torch.empty(0, *codec.shape, device=device)  # fewer images than processes
        self._x0 = codec.encode(crops, device) if crops else nothing
        self._labels = torch.from_numpy(validation.labels[subset])
        self._geometry = world.from_main(lambda: _geometry(training))
        self._world = world
        self._counts, self._frequency = training.class_counts(), frequency
        self._recipe, self._schedule, self._label_set = recipe, schedule, training.label_set
        self._facts: dict[str, Any] = {
            "recipe": recipe.model_dump(mode="json"),
            "training_data": {
                "name": training.name,
                "images": len(training),
                "fingerprint": training.fingerprint(),
                "terms": training.terms,
                "notes": dict(training.notes),
            },
            "validation_data": {
                "name": validation.name,
                "images": len(self._subset),
                "fingerprint": self._subset.fingerprint(),
                "notes": dict(validation.notes),
            },
        }
        if initial is not None:
            self._facts["initial_model"] = initial

    def listed(self) -> bytes:
        """Return the validation subset as CSV: id, label."""
        classes = self._subset.label_set.classes
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "label"])
        labels = [classes[label] for label in self._subset.labels]
        writer.writerows(zip(self._subset.ids, labels, strict=True))
        return text.getvalue().encode()

    def keep_if_best(self, state: RunState, output: Path) -> dict[str, float]:
        """Save the averaged model as the latest and, if it is, as the best; return its scores.

        Raises:
            TrainingDiverged: it predicts NaN.
            OSError: the folder cannot be written.
        """
        model = Model(
            name=self._recipe.name,
            settings=self._recipe.model,
            label_set=self._label_set,
            geometry=self._geometry,
            backbone=state.average,
            schedule=self._schedule,
            # A network that was trained on mirror images takes them for further views.
            decision=Decision(scale=1.0, mirror=self._recipe.augment.flip > 0),
            precision=self._recipe.precision,
        )
        bank = model.draws(self._recipe.validation.steps)
        share = model.class_errors(self._x0, bank)
        errors = torch.cat(self._world.gather(share))  # (N, K, S)
        if not bool(errors.isfinite().all()):
            raise TrainingDiverged("model predicts NaN", state.samples)
        logits = model.decision.logits(errors, bank.t, self._schedule.timesteps)
        predicted = logits.argmax(dim=1)
        scores = {
            "validation_accuracy": accuracy(predicted, self._labels),
            "validation_mean_class_accuracy": mean_class_accuracy(predicted, self._labels),
            "validation_d_p": float(errors[torch.arange(len(errors)), self._labels].mean()),
        }
        scale = fit_scale(errors, self._labels)
        prior = class_prior(self._counts, self._frequency, self._recipe, scale)
        model = replace(
            model,
            decision=model.decision.model_copy(update={"scale": scale, "prior": prior}),
            facts=self._facts | {"samples": state.samples, "validation": scores},
        )
        if self._world.is_main:
            save_model(model, output / "last")
        if scores["validation_accuracy"] > state.best:
            state.best = scores["validation_accuracy"]
            if self._world.is_main:
                save_model(model, output)
        return scores


def _geometry(training: FaceData) -> CropGeometry | None:
    """Return where the training images show the landmarks, so that photographs can follow."""
    if training.geometry is not None:
        return training.geometry
    try:
        measured = measured_geometry(training)
    except ImportError:
        measured = None
    if measured is None:
        logger.warning(
            "%s: too few faces are found in its images (by the extra faces) to tell how they are "
            "cropped; the model will take crops only, not photographs",
            training.name,
        )
    return measured
