"""Models on disk: weights in safetensors, everything that must travel with them in JSON.

``model.safetensors`` holds the backbone's weights; ``emodc.json`` holds the label order, the
settings of schedule, codec and backbone, the crop geometry, the fitted posterior, hashes of all
files, and what the card says of data and license. A fine-tuned Stable Diffusion has its LoRA or
UNet in further files, as diffusers names them, and the hash of the checkpoint it was made from.
"""

import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from emodc.backbones.base import WEIGHTS, NotFinite
from emodc.faces.geometry import CropGeometry
from emodc.labels import LabelSet, prompt_texts
from emodc.model.description import (
    FILES,
    FORMAT,
    HELD_OUT,
    SETTINGS,
    Description,
    description_hash,
    read_description,
    read_files,
)
from emodc.model.external import load_external
from emodc.model.held_out import HeldOut
from emodc.model.model import Model
from emodc.support.devices import DTYPES
from emodc.support.files import one_line, write_atomically
from emodc.support.forks import before_computing
from emodc.support.text import printable, shortened

MODEL_FILES = [SETTINGS, *FILES]
"""What a model's folder can hold, the card aside."""

_BUNDLED = Path(str(resources.files("emodc") / "assets" / "models"))


def save_model(model: Model, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a model, with hashes by which the loader detects files from different models.

    Args:
        model: what to write.
        folder: created if missing.
        dtype: of the stored weights; they are float32 again when loaded.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = model.backbone.files(dtype)
    if model.held_out is not None:
        files = {**files, HELD_OUT: model.held_out.pack()}
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    settings = {
        "format": FORMAT,
        "name": model.name,
        "labels": {"name": model.label_set.name, "classes": list(model.label_set.classes)},
        "model": model.settings.model_dump(mode="json"),
        "prompts": prompt_texts(model.label_set, model.settings.prompts),
        "license": model.facts.get("license"),
        "crop": None if model.geometry is None else model.geometry.to_dict(),
        "posterior": model.decision.model_dump(mode="json"),
        "facts": dict(model.facts),
        "weights_sha256": hashes.pop(WEIGHTS),
    }
    if model.typicality is not None:
        settings["typicality"] = model.typicality.model_dump(mode="json")
    if model.backbone.base:
        settings["base"] = dict(model.backbone.base)
    if hashes:
        settings["files_sha256"] = hashes
    settings["sha256"] = description_hash(settings)
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        write_atomically(folder / name, content)
    write_atomically(folder / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())


def load_model(
    name_or_path: str | Path, device: torch.device | str = "cpu", precision: str = "fp32"
) -> Model:
    """Load a model by name, from a folder, from the Hugging Face hub or by a description.

    Args:
        name_or_path: a bundled model's name, a folder written by `save_model`, a hub id
            ``owner/name[@revision]``, or a ``.yaml`` file that describes a classifier trained
            elsewhere (`emodc.model.external`). What exists as a folder is never looked up
            elsewhere.
        device: where to put the weights.
        precision: see `emodc.model.model.Model`; the weights stay float32.

    Returns:
        The model in evaluation mode.

    Raises:
        ValueError: there is no such model, a file is missing, edited or half-written, or its
            format is of a later version; the message names the file and the remedy.
        ImportError: the extra that the network needs is not installed.
        RuntimeError: torch cannot compute in this process (see `emodc.support.forks`).
    """
    before_computing()
    if precision not in DTYPES:
        raise ValueError(f"precision is one of {', '.join(DTYPES)}, not '{precision}'")
    if str(name_or_path).endswith((".yaml", ".yml")):
        return load_external(Path(name_or_path), device, precision)
    folder = locate(str(name_or_path))
    described = read_description(folder / SETTINGS)
    parsed, crop = described.model, described.crop
    try:
        label_set = LabelSet(described.labels.name, described.labels.classes)
        geometry = None if crop is None else CropGeometry.from_dict(crop)
        texts = prompt_texts(label_set, parsed.prompts)
    except ValueError as error:
        raise ValueError(
            f"{printable(str(folder / SETTINGS))}: not a usable model description: "
            f"{shortened(one_line(error))}"
        ) from None
    files = read_files(folder, described)
    schedule = parsed.schedule.build()
    held_out = _held_out(files, folder, len(label_set))
    try:
        backbone = parsed.backbone.restore(files, texts, schedule)
    except NotFinite as error:
        raise ValueError(f"{printable(str(folder / error.file))}: {error}") from None
    except (ValueError, KeyError, RuntimeError) as error:
        reason = shortened(one_line(error))
        raise ValueError(
            f"{printable(str(folder))}: not what {SETTINGS} describes ({reason}); copy all files "
            "from the same run"
        ) from None
    base = described.base
    if backbone.base.get("sha256") != base.get("sha256"):
        raise ValueError(
            f"{folder}: made from another checkpoint than the one now at {base.get('path')}: it "
            f"takes revision {base.get('revision') or 'not known'}"
        )
    backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(
        name=described.name or folder.name,
        settings=parsed,
        label_set=label_set,
        geometry=geometry,
        backbone=backbone.to(device).eval(),
        schedule=schedule,
        decision=described.posterior,
        facts=_stated(described),
        precision=precision,
        held_out=held_out,
        typicality=described.typicality,
    )


def _held_out(files: dict[str, bytes], folder: Path, classes: int) -> HeldOut | None:
    """Take the held-out images from a model's files, where there are any."""
    content = files.pop(HELD_OUT, None)
    if content is None:
        return None
    try:
        return HeldOut.unpack(content, classes)
    except ValueError as error:
        raise ValueError(f"{printable(str(folder / HELD_OUT))}: {one_line(error)}") from None


def _stated(described: Description) -> dict[str, Any]:
    """Return the facts, with the license of the weights where it is stated."""
    license_of_weights = described.license
    return described.facts | ({"license": license_of_weights} if license_of_weights else {})


def bundled_models() -> tuple[str, ...]:
    """Return the names of the models that come with the package, sorted."""
    return tuple(sorted(folder.name for folder in _BUNDLED.iterdir() if folder.is_dir()))


def bundled_folder(name: str) -> Path:
    """Return the folder of a model that comes with the package."""
    return _BUNDLED / name


def locate(name: str) -> Path:
    """Return a model's folder by its path, its name, or its hub id ``owner/name[@revision]``.

    Raises:
        ValueError: there is no such model.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if name in bundled_models():
        return bundled_folder(name)
    owner, slash, rest = name.partition("/")
    if not slash or not owner or "/" in rest or not rest:
        raise ValueError(
            f"no model '{name}': give a folder with {SETTINGS}, a hub id owner/name, "
            f"or one of {', '.join(bundled_models())}"
        )
    repository, _, revision = name.partition("@")
    try:
        return Path(
            snapshot_download(repository, revision=revision or None, allow_patterns=MODEL_FILES)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"no folder and no hub model '{name}': {reason}") from None
