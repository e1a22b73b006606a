"""Classifiers that were trained elsewhere, in the diffusion classifier's place.

A YAML file describes one:

    name: somebodys-vit
    codec: {size: 224, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
    backbone:
      kind: transformers            # or onnx, or callable
      path: owner/name              # or a folder; file.onnx; module:function
      labels: {angry: anger, happy: happiness, ..., contempt: null}

It becomes a `Model` like those trained here: the same code scores, evaluates and attacks it.
"""

from pathlib import Path
from typing import Any

import torch

from emodc.backbones.external_kinds import ExternalConfig
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.model.settings import parse_model
from emodc.support.parsing import read_yaml


def load_external(path: Path, device: torch.device | str = "cpu", precision: str = "fp32") -> Model:
    """Load a classifier that was trained elsewhere, and check it on a gray image.

    Its probabilities are as it gives them: no temperature is fitted.

    Args:
        path: the file that describes it; relative paths in it start from its folder.
        device: where to put the weights.
        precision: see `Model`.

    Raises:
        ValueError: the description is wrong, the classifier is not there or does not answer as
            described.
        ImportError: the extra that it needs is not installed.
    """
    described = read_yaml(path.expanduser())
    if not isinstance(described, dict):
        raise ValueError(f"{path}: not a description of a classifier: name, codec and backbone")
    name = str(described.pop("name", path.stem))
    settings = parse_model(_beside(described, path.expanduser().parent), str(path))
    external = settings.backbone
    if not isinstance(external, ExternalConfig):
        raise ValueError(f"{path}: backbone.kind is transformers, onnx or callable in such a file")
    label_set, schedule = external.label_set(), settings.schedule.build()
    try:
        backbone = build_backbone(settings, label_set, schedule)
        model = Model(
            name=name,
            settings=settings,
            label_set=label_set,
            geometry=None,
            backbone=backbone.to(device).eval(),
            schedule=schedule,
            decision=Decision(scale=1.0),
            precision=precision,
        )
        gray = torch.full((1, *settings.codec.shape), 128.0, device=device)
        errors = model.class_errors(settings.codec.to_x0(gray), model.draws(1))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not bool(errors.isfinite().all()):
        raise ValueError(f"{path}: {external.path} answers NaN or infinity to a gray image")
    return model


def _beside(described: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the description with its codec's kind, and with a path beside the file in full."""
    if isinstance(codec := described.get("codec"), dict):
        described["codec"] = {"kind": "normalized"} | codec
    backbone = described.get("backbone")
    if isinstance(backbone, dict) and isinstance(path := backbone.get("path"), str):
        near = folder / path
        if backbone.get("kind") in ("transformers", "onnx") and near.exists():
            backbone["path"] = str(near)
    return described
