"""Store the class priors with models that were saved before there were any.

    python scripts/add_prior.py src/emodc/assets/models/face48 --data fer2013plus:PATH

The training shares come from the training split, whose hash must be the one that the model names.
The effective prior is fitted on the validation split (`emodc.calibration.posterior.fit_prior`).
Answers stay as they are until a prior is asked for; `emodc calibrate` does all of this, and
certifies prediction sets and early stopping as well.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

from emodc.calibration.posterior import fit_prior
from emodc.data import open_data
from emodc.data.subset import stratified_subset
from emodc.inference.dataset_scores import score_errors, score_images
from emodc.method.errors import mean_errors
from emodc.model.model import Model
from emodc.model.store import load_model, save_model
from emodc.training.batches import Sampler
from emodc.training.class_prior import class_prior
from emodc.training.recipe import parse_recipe


def with_stored_prior(
    model: Model, data: str, images: int | None, steps: int, work: Path | None
) -> Model:
    """Return the model with its priors.

    Raises:
        ValueError: the data are not those that it was trained on.
    """
    training, validation = open_data(data, "train"), open_data(data, "validation")
    if training.fingerprint() != model.facts["training_data"]["fingerprint"]:
        raise ValueError(f"{model.name} was trained on other images than the train split of {data}")
    recipe = parse_recipe(model.facts["recipe"], model.name)
    sampler = Sampler(training, recipe, model.schedule)
    prior = class_prior(training.class_counts(), sampler.frequency, recipe, model.decision.scale)
    chosen = validation
    if images is not None:
        chosen = validation.subset(stratified_subset(validation.labels, images, 0))
    draws = model.draws_taken(steps)
    settings = {"seed": 0, "steps": draws}
    scores = score_images(model, chosen, score_errors(model, steps=draws), settings, folder=work)
    means = mean_errors(scores.values["errors"])
    expected = torch.tensor(prior.effective, dtype=torch.float64)
    labels = torch.from_numpy(chosen.labels)[scores.index]
    nats, effective = fit_prior(means, labels, expected)
    stored = prior.model_copy(update={"nats": nats, "effective": tuple(effective.tolist())})
    return replace(model, decision=model.decision.model_copy(update={"prior": stored}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="of the model; written in place")
    parser.add_argument("--data", required=True, help="NAME:PATH of what it was trained on")
    parser.add_argument("--images", type=int, help="of the validation split; all if not given")
    parser.add_argument("--steps", type=int, default=10, help="draws for each image")
    parser.add_argument("--precision", default="fp32", help="to score in")
    parser.add_argument("--work", type=Path, help="folder of errors that are scored already")
    asked = parser.parse_args()
    loaded = load_model(asked.folder, precision=asked.precision)
    found = with_stored_prior(loaded, asked.data, asked.images, asked.steps, asked.work)
    save_model(found, asked.folder, torch.float16)
    print(found.decision.prior)
