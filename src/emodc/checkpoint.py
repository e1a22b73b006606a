"""Models on disk: weights in safetensors, everything that must travel with them in JSON.

A model is a folder of two files. ``model.safetensors`` holds the backbone's weights;
``emodc.json`` holds the label order, the settings of schedule, codec and backbone, the crop
geometry, the fitted posterior, hashes of both files, and what the card tells of data and licence.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from emodc.backbones.face_unet import FaceUNet
from emodc.config import ModelSettings
from emodc.decision import Decision
from emodc.diffusion import Schedule
from emodc.faces import CropGeometry
from emodc.labels import LabelSet, prompt_texts

FORMAT = 1
WEIGHTS, SETTINGS = "model.safetensors", "emodc.json"

LICENCE = "Apache-2.0"
"""Of the weights; that of the pictures they were trained on is among the facts."""

BUNDLED = ("face48",)
"""Models that come with the package, by name."""


@dataclass(frozen=True)
class Model:
    """A network with everything needed to use it.

    Attributes:
        name: what the model is called in reports.
        settings: schedule, codec and backbone settings.
        label_set: the ordered classes.
        geometry: where the crops it was trained on show the landmarks; None if that is not known,
            so that it can only be shown crops.
        backbone: the network, in evaluation mode.
        schedule: the noise schedule that ``settings`` describes.
        decision: how errors become an answer.
        facts: JSON values for the card: training run, data, licence.
    """

    name: str
    settings: ModelSettings
    label_set: LabelSet
    geometry: CropGeometry | None
    backbone: FaceUNet
    schedule: Schedule
    decision: Decision
    facts: Mapping[str, Any] = field(default_factory=dict)

    def require_geometry(self) -> CropGeometry:
        """Return the geometry that faces are aligned to.

        Raises:
            ValueError: it is not known.
        """
        if self.geometry is None:
            raise ValueError(
                f"model '{self.name}' was trained on crops in which no faces were found, so it "
                "cannot be shown photographs: give crops like these, and --no-detect"
            )
        return self.geometry

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.backbone.parameters()).device


def build_backbone(settings: ModelSettings, num_classes: int, schedule: Schedule) -> FaceUNet:
    """Return a backbone with fresh weights in the memory layout that convolutions like best."""
    backbone = settings.backbone.build(num_classes, schedule)
    return backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def save_model(model: Model, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a model; a reader who finds the files of two models refuses them by their hash.

    Args:
        model: what to write.
        folder: created if missing.
        dtype: of the stored weights; they are float32 again when loaded.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.to(dtype) for key, value in model.backbone.state_dict().items()}
    weights = pack_tensors(state)
    settings = {
        "format": FORMAT,
        "name": model.name,
        "labels": {"name": model.label_set.name, "classes": list(model.label_set.classes)},
        "model": model.settings.model_dump(mode="json"),
        "prompts": prompt_texts(model.label_set, model.settings.prompts),
        "licence": LICENCE,
        "crop": None if model.geometry is None else model.geometry.to_dict(),
        "posterior": model.decision.model_dump(mode="json"),
        "facts": dict(model.facts),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    settings["sha256"] = description_hash(settings)
    write_atomically(folder / WEIGHTS, weights)
    write_atomically(folder / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())


def load_model(name_or_path: str | Path, device: torch.device | str = "cpu") -> Model:
    """Load a model by name, from a folder, or from the Hugging Face hub.

    Args:
        name_or_path: a bundled model's name, a folder written by `save_model`, or a hub id
            ``owner/name[@revision]``. What exists as a folder is never looked up elsewhere.
        device: where to put the weights.

    Returns:
        The model in evaluation mode, float32.

    Raises:
        ValueError: there is no such model, a file is missing, edited or half-written, or its
            format is of a later version; the message names the file and the remedy.
    """
    folder = _locate(str(name_or_path))
    settings = _read_settings(folder / SETTINGS)
    state = _read_weights(folder / WEIGHTS, settings.get("weights_sha256"))
    try:
        label_set = LabelSet(settings["labels"]["name"], tuple(settings["labels"]["classes"]))
        parsed = ModelSettings.model_validate(settings["model"])
        crop = settings["crop"]
        geometry = None if crop is None else CropGeometry.from_dict(crop)
        decision = Decision.model_validate(settings["posterior"])
    except (KeyError, TypeError, ValueError) as error:
        reason = (
            f"{error.error_count()} settings are wrong"
            if isinstance(error, ValidationError)
            else " ".join(str(error).split())
        )
        raise ValueError(f"{folder / SETTINGS}: not a usable model description: {reason}") from None
    schedule = parsed.schedule.build()
    backbone = build_backbone(parsed, len(label_set), schedule)
    try:
        backbone.load_state_dict(state)
    except RuntimeError:
        raise ValueError(
            f"{folder / WEIGHTS}: the weights do not fit the backbone that {SETTINGS} describes; "
            "copy both files from the same run"
        ) from None
    return Model(
        name=str(settings.get("name", folder.name)),
        settings=parsed,
        label_set=label_set,
        geometry=geometry,
        backbone=backbone.to(device).eval(),
        schedule=schedule,
        decision=decision,
        facts=settings.get("facts", {}),
    )


def bundled_folder(name: str) -> Path:
    """Return the folder of a model that comes with the package."""
    return Path(str(resources.files("emodc") / "models" / name))


def description_hash(settings: Mapping[str, Any]) -> str:
    """Return the hash of a description without its own; layout and key order do not matter."""
    described = {key: value for key, value in settings.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def pack_tensors(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Serialise tensors as safetensors, whatever their memory layout."""
    return save({key: value.contiguous().cpu() for key, value in tensors.items()}, metadata)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is whole or absent, even when the process is killed.

    Raises:
        OSError: the disk is full or the folder not writable; a file already there is kept.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _locate(name: str) -> Path:
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name in BUNDLED:
        return bundled_folder(name)
    owner, slash, rest = name.partition("/")
    if not slash or not owner or "/" in rest or not rest:
        raise ValueError(
            f"no model '{name}': give a folder with {SETTINGS}, a hub id owner/name, "
            f"or one of {', '.join(BUNDLED)}"
        )
    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=[WEIGHTS, SETTINGS]
            )
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"no folder and no hub model '{name}': {reason}") from None


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path}: missing; {path.parent} is not an EmoDC model folder") from None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: cannot be read ({reason}); copy the model again") from None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise ValueError(f"{path}: not of format {FORMAT}; update emodc or export the model again")
    if settings.get("sha256") != description_hash(settings):
        raise ValueError(f"{path}: edited since it was written; copy the model again")
    return settings


def _read_weights(path: Path, expected_sha256: object) -> dict[str, Tensor]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; copy the model again") from None
    if hashlib.sha256(content).hexdigest() != expected_sha256:
        raise ValueError(
            f"{path}: not the file that {SETTINGS} was written with (damaged, edited or from "
            "another run); copy both files again"
        )
    try:
        state = load(content)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a safetensors file ({error}); copy it again") from None
    return {key: value.float() for key, value in state.items()}
