"""Packaging: a trained model as a folder that can be shipped, and its card."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from emodc.checkpoint import Model, load_model, save_model, write_atomically
from emodc.config import parse_recipe
from emodc.report import model_card
from emodc.scoring import state_hash

CARD = "README.md"


def export_model(
    model: Model,
    folder: Path,
    *,
    name: str | None = None,
    half: bool = False,
    report: Mapping[str, Any] | None = None,
) -> None:
    """Write a model and its card for shipping.

    Args:
        model: what to ship.
        folder: created if missing; a model in it is replaced.
        name: what the shipped model is called; as before if not given.
        half: store the weights in float16, at half the size.
        report: for the card; what `emodc.evaluate.evaluate` returned for the weights as they
            are stored.

    Raises:
        ValueError: the report is of other weights.
        OSError: the folder cannot be written.
    """
    dtype = torch.float16 if half else torch.float32
    if report is not None:
        stored = {
            key: value.to(dtype).float() for key, value in model.backbone.state_dict().items()
        }
        if report.get("model", {}).get("weights_sha256") != state_hash(stored):
            raise ValueError(f"the evaluation is of other weights than those for {folder}")
    save_model(replace(model, name=name or model.name), folder, dtype)
    write_card(folder, report)


def write_card(folder: Path, report: Mapping[str, Any] | None) -> None:
    """Write the card of the model in a folder.

    Args:
        folder: holds a model.
        report: what `emodc.evaluate.evaluate` returned for these very weights, if it was run.

    Raises:
        ValueError: the folder holds no usable model.
        OSError: the folder cannot be written.
    """
    model = load_model(folder)
    recipe = model.facts.get("recipe")
    parsed = None if recipe is None else parse_recipe(recipe, f"the recipe in {folder}")
    write_atomically(folder / CARD, model_card(model, parsed, report).encode())
