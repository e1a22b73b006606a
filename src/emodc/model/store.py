"""Models on disk: weights in safetensors, everything that must travel with them in JSON.

``model.safetensors`` holds the backbone's weights; ``emodc.json`` holds the label order, the
settings of schedule, codec and backbone, the crop geometry, the fitted posterior, hashes of all
files, and what the card tells of data and license. A fine-tuned Stable Diffusion has its LoRA or
UNet in further files, as diffusers names them, and the hash of the checkpoint it was made from.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from emodc.backbones.base import DTYPES, WEIGHTS
from emodc.faces.geometry import CropGeometry
from emodc.labels import LabelSet, prompt_texts
from emodc.model.decision import Decision
from emodc.model.files import FORMAT, SETTINGS, description_hash, locate, read_file, read_settings
from emodc.model.model import Model
from emodc.model.settings import ModelSettings
from emodc.support.files import write_atomically

LICENCE = "Apache-2.0"
"""Of the weights; that of the images they were trained on is among the facts."""


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
    files = model.backbone.files(dtype)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    settings = {
        "format": FORMAT,
        "name": model.name,
        "labels": {"name": model.label_set.name, "classes": list(model.label_set.classes)},
        "model": model.settings.model_dump(mode="json"),
        "prompts": prompt_texts(model.label_set, model.settings.prompts),
        "license": LICENCE,
        "crop": None if model.geometry is None else model.geometry.to_dict(),
        "posterior": model.decision.model_dump(mode="json"),
        "facts": dict(model.facts),
        "weights_sha256": hashes.pop(WEIGHTS),
    }
    if model.backbone.base:
        settings |= {"base": dict(model.backbone.base), "files_sha256": hashes}
    settings["sha256"] = description_hash(settings)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_atomically(folder / name, content)
    write_atomically(folder / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())


def load_model(
    name_or_path: str | Path, device: torch.device | str = "cpu", precision: str = "fp32"
) -> Model:
    """Load a model by name, from a folder, or from the Hugging Face hub.

    Args:
        name_or_path: a bundled model's name, a folder written by `save_model`, or a hub id
            ``owner/name[@revision]``. What exists as a folder is never looked up elsewhere.
        device: where to put the weights.
        precision: see `emodc.model.model.Model`; the weights stay float32.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: there is no such model, a file is missing, edited or half-written, or its
            format is of a later version; the message names the file and the remedy.
    """
    if precision not in DTYPES:
        raise ValueError(f"precision is one of {', '.join(DTYPES)}, not '{precision}'")
    folder = locate(str(name_or_path))
    settings = read_settings(folder / SETTINGS)
    hashes = {WEIGHTS: settings.get("weights_sha256"), **settings.get("files_sha256", {})}
    files = {name: read_file(folder / name, expected) for name, expected in hashes.items()}
    try:
        label_set = LabelSet(settings["labels"]["name"], tuple(settings["labels"]["classes"]))
        parsed = ModelSettings.model_validate(settings["model"])
        crop = settings["crop"]
        geometry = None if crop is None else CropGeometry.from_dict(crop)
        decision = Decision.model_validate(settings["posterior"])
        texts = prompt_texts(label_set, parsed.prompts)
    except (KeyError, TypeError, ValueError) as error:
        reason = (
            f"{error.error_count()} settings are wrong"
            if isinstance(error, ValidationError)
            else " ".join(str(error).split())
        )
        raise ValueError(f"{folder / SETTINGS}: not a usable model description: {reason}") from None
    schedule = parsed.schedule.build()
    try:
        backbone = parsed.backbone.restore(files, texts, schedule)
    except (ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{folder}: not what {SETTINGS} describes ({reason}); copy all files from the same run"
        ) from None
    base = settings.get("base", {})
    if backbone.base.get("sha256") != base.get("sha256"):
        raise ValueError(
            f"{folder}: made from another checkpoint than the one now at {base.get('path')}: it "
            f"takes revision {base.get('revision') or 'not known'}"
        )
    backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(
        name=str(settings.get("name", folder.name)),
        settings=parsed,
        label_set=label_set,
        geometry=geometry,
        backbone=backbone.to(device).eval(),
        schedule=schedule,
        decision=decision,
        facts=settings.get("facts", {}),
        precision=precision,
    )


def pack_tensors(tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Serialize tensors as safetensors, whatever their memory layout."""
    return save({key: value.contiguous().cpu() for key, value in tensors.items()}, metadata)
