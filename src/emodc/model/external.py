"""Classifiers that were trained elsewhere, in the diffusion classifier's place.

A YAML file describes one:

    name: somebodys-vit
    codec: {size: 224, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}
    backbone:
      kind: transformers            # or onnx, or callable
      path: owner/name              # or a folder; file.onnx; module:function
      labels: {angry: anger, happy: happiness, ..., contempt: null}
    crop: fer2013                   # or arcface, or {left_eye: [x, y], ...}: to find faces

Without ``crop`` nobody knows how its crops show a face, so it can only be shown crops. It becomes
a `Model` like those trained here: the same code scores, evaluates and attacks it.
"""

import logging
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from emodc.backbones.external import ExternalClassifier
from emodc.backbones.external_kinds import CallableConfig, ExternalConfig, OnnxConfig
from emodc.codecs import Codec, NormalizedCodec
from emodc.faces.geometry import ARCFACE_GEOMETRY, FER2013_GEOMETRY, LANDMARKS, CropGeometry
from emodc.model.decision import Decision
from emodc.model.model import Model, build_backbone
from emodc.model.settings import parse_model
from emodc.support.files import one_line
from emodc.support.parsing import read_json, read_yaml

logger = logging.getLogger(__name__)

_GEOMETRIES = {"fer2013": FER2013_GEOMETRY, "arcface": ARCFACE_GEOMETRY}
_PREPROCESSING = "preprocessor_config.json"


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
    geometry = _geometry(described.pop("crop", None), path)
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
            geometry=geometry,
            backbone=backbone.to(device).eval(),
            schedule=schedule,
            decision=Decision(scale=1.0),
            precision=precision,
        )
        gray = torch.full((1, *settings.codec.shape), 128.0, device=device)
        x0 = settings.codec.to_x0(gray)
        errors = model.class_errors(x0, model.draws(1))
        dark = settings.codec.to_x0(gray / 4)
        sure = isinstance(backbone, ExternalClassifier) and all(
            backbone.answers_probabilities(shown) for shown in (x0, dark)
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not bool(errors.isfinite().all()):
        raise ValueError(f"{path}: {external.path} answers NaN or infinity to a gray image")
    if sure and external.outputs == "logits":
        logger.warning(
            "%s: %s answers probabilities, which are taken for logits: set backbone.outputs to "
            "probabilities",
            path,
            external.path,
        )
    for conflict in conflicts(external, settings.codec):
        logger.warning("%s: %s", path, conflict)
    return model


def conflicts(external: ExternalConfig, codec: Codec) -> list[str]:
    """Return where a codec contradicts the ``preprocessor_config.json`` beside a classifier.

    Args:
        external: whose folder, or hub repository if it was downloaded, is looked at.
        codec: as the description has it.

    Raises:
        ValueError: the file cannot be read.
    """
    file = _preprocessing_file(external)
    if file is None or not isinstance(codec, NormalizedCodec):
        return []
    given = read_json(file)
    if not isinstance(given, dict):
        return []
    told = []
    sizes = given.get("crop_size") if given.get("do_center_crop") else given.get("size")
    values = list(sizes.values()) if isinstance(sizes, dict) else [sizes]
    whole = [value for value in values if isinstance(value, int)]
    if whole and codec.size not in whole:
        told.append(f"codec.size is {codec.size}, but {file} says {whole[0]}")
    # It computes (pixel * factor - mean) / std, the codec (pixel / 255 - mean) / std.
    factor = given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 1.0
    for name, default in (("mean", 0.0), ("std", 1.0)):
        stated = given.get(f"image_{name}") if given.get("do_normalize", True) else None
        numbers = stated if isinstance(stated, list) else [default if stated is None else stated]
        if not all(isinstance(number, int | float) for number in (*numbers, factor)) or not factor:
            continue
        wanted = [number / (255 * factor) for number in numbers]
        own = getattr(codec, name)
        pairs = (
            [(a, b) for a in own for b in wanted]
            if 1 in (len(own), len(wanted))
            else [*zip(own, wanted, strict=False)]
        )
        if any(abs(a - b) > 0.01 * max(abs(b), 0.1) for a, b in pairs):
            shown = ", ".join(f"{number:.4g}" for number in wanted)
            told.append(f"codec.{name} is {list(own)}, but {file} means [{shown}]")
    return told


def _preprocessing_file(external: ExternalConfig) -> Path | None:
    """Return the file that says how a classifier's images are prepared; None if there is none."""
    if isinstance(external, CallableConfig):
        return None
    path = Path(external.path).expanduser()
    folder = path.parent if isinstance(external, OnnxConfig) else path
    if folder.is_dir():
        file = folder / _PREPROCESSING
        return file if file.exists() else None
    if isinstance(external, OnnxConfig):
        return None
    try:
        return Path(hf_hub_download(external.path, _PREPROCESSING, revision=external.revision))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError):
        return None


def _geometry(crop: object, path: Path) -> CropGeometry | None:
    """Return what ``crop`` in a description says of where the crops show a face."""
    if crop is None:
        return None
    if isinstance(crop, str) and crop in _GEOMETRIES:
        return _GEOMETRIES[crop]
    if not isinstance(crop, dict):
        raise ValueError(
            f"{path}: crop is {' or '.join(_GEOMETRIES)}, or a position for each landmark: "
            f"{', '.join(LANDMARKS)}"
        )
    try:
        return CropGeometry.from_dict(crop)
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


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
