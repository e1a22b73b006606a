"""What ``emodc.json`` says of a model, and reading the files beside it.

A model may come from a stranger. So nothing that its description names is opened or imported
before it is checked: only files that `emodc.model.store.save_model` writes are read, only from the
model's own folder, and sizes are bounded before anything is allocated.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from emodc.backbones.base import WEIGHTS
from emodc.backbones.external_kinds import ExternalConfig
from emodc.backbones.stable_diffusion.unet import LORA, UNET, UNET_SETTINGS
from emodc.model.decision import Decision
from emodc.model.settings import MODEL_KINDS, ModelSettings
from emodc.model.typicality import Typicality
from emodc.support.parsing import MAX_SETTINGS_BYTES, read_bytes, read_json
from emodc.support.settings import Settings, checked
from emodc.support.text import printable, shortened

FORMAT = 1
SETTINGS = "emodc.json"
HELD_OUT = "held_out.safetensors"

_GIB = 1 << 30

FILES: Mapping[str, int] = {
    WEIGHTS: _GIB,
    LORA: _GIB,
    UNET: 8 * _GIB,
    UNET_SETTINGS: MAX_SETTINGS_BYTES,
    HELD_OUT: _GIB,
}
"""The files that a description may name, and the most bytes that each may have."""


class Labels(Settings):
    """The classes of a model; see `emodc.labels.LabelSet`."""

    name: str
    classes: tuple[str, ...] = Field(min_length=2, max_length=1000)


class Description(Settings):
    """What ``emodc.json`` says; keys of no importance here are not looked at.

    Attributes:
        name: of the model; that of its folder if not given.
        labels: the classes, in label order.
        model: schedule, codec and backbone.
        crop: where the crops show the landmarks, by `emodc.faces.geometry.CropGeometry.to_dict`.
        posterior: how errors become an answer.
        typicality: of faces, see `emodc.model.typicality`.
        facts: for the card.
        license: of the weights.
        base: the checkpoint that the network was made from.
        weights_sha256: hash of the file of weights.
        files_sha256: hashes of further files of `FILES`, by name.
    """

    model_config = ConfigDict(extra="ignore")

    name: str | None = None
    labels: Labels
    model: ModelSettings
    crop: dict[str, tuple[float, float]] | None
    posterior: Decision
    typicality: Typicality | None = None
    facts: dict[str, Any] = Field(default_factory=dict)
    license: str | None = None
    base: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str
    files_sha256: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _decision_is_of_these_classes(self) -> "Description":
        count, decision = len(self.labels.classes), self.posterior
        if decision.prior is not None and len(decision.prior.training) != count:
            raise ValueError(f"posterior.prior has not a share for each of {count} classes")
        if decision.span is not None and decision.span[1] > self.model.schedule.timesteps:
            raise ValueError(
                f"posterior.span goes beyond {self.model.schedule.timesteps} timesteps"
            )
        if any(k >= count for k in decision.classes):
            raise ValueError(f"posterior.classes has an id beyond {count} classes")
        stops = decision.adaptive.stops if decision.adaptive is not None else ()
        given = [decision.least_probability, *(stop.least_probability for stop in stops)]
        if any(least is not None and len(least) not in (1, count) for least in given):
            raise ValueError(f"least_probability is one number, or one for each of {count} classes")
        return self


def read_description(path: Path) -> Description:
    """Return what a model's ``emodc.json`` says.

    Raises:
        ValueError: it is missing, edited, damaged, of another format, or describes what
            `emodc.model.store.save_model` never writes: a network that was trained elsewhere, or
            further files. The message is one line and names the file.
    """
    described: Description = checked(
        Description,
        read_settings(path),
        f"{printable(str(path))}: not a usable model description",
        MODEL_KINDS,
    )
    kind = described.model.backbone.kind
    if isinstance(described.model.backbone, ExternalConfig):
        raise ValueError(
            f"{printable(str(path))}: backbone.kind is {kind}, which opens or runs what is "
            "elsewhere; a saved model never does. If you trust it, describe it in a YAML file of "
            "your own, and give that file's name as the model"
        )
    unknown = [name for name in described.files_sha256 if name not in FILES]
    if unknown:
        raise ValueError(
            f"{printable(str(path))}: files_sha256 names {shortened(printable(unknown[0]), 200)}, "
            f"but a model has no files but {', '.join(FILES)}; get it from another source"
        )
    return described


def read_settings(path: Path) -> dict[str, Any]:
    """Return what `SETTINGS` says, unchecked but for its format and hash.

    Raises:
        ValueError: it is missing, edited, damaged, or of another format.
    """
    name = printable(str(path))
    if not path.exists():
        raise ValueError(
            f"{name}: missing; {printable(str(path.parent))} is not an EmoDC model folder"
        )
    try:
        settings = read_json(_inside(path.parent, SETTINGS))
    except ValueError as error:
        raise ValueError(f"{error}; copy the model again") from None
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise ValueError(f"{name}: not of format {FORMAT}; update emodc or export the model again")
    if settings.get("sha256") != description_hash(settings):
        raise ValueError(f"{name}: edited since it was written; copy the model again")
    return settings


def description_hash(settings: Mapping[str, Any]) -> str:
    """Return the hash of a description without its own; layout and key order do not matter."""
    described = {key: value for key, value in settings.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def read_files(folder: Path, described: Description) -> dict[str, bytes]:
    """Return the files that a description names, by name.

    Raises:
        ValueError: one is missing, too large, no regular file, lies outside the folder, or has
            another hash; the message is one line and names the file.
    """
    hashes = {**described.files_sha256, WEIGHTS: described.weights_sha256}
    return {name: _read_file(folder, name, expected) for name, expected in hashes.items()}


def _read_file(folder: Path, name: str, expected_sha256: str) -> bytes:
    path = _inside(folder, name)
    try:
        content = read_bytes(path, FILES[name])
    except ValueError as error:
        raise ValueError(f"{error}; copy the model again") from None
    if hashlib.sha256(content).hexdigest() != expected_sha256:
        raise ValueError(
            f"{printable(str(path))}: not the file that {SETTINGS} was written with (damaged, "
            "edited or from another run); copy all files again"
        )
    return content


def _inside(folder: Path, name: str) -> Path:
    """Return a file's path; links may lead about inside the folder, and to the hub's own cache.

    Raises:
        ValueError: it leads elsewhere.
    """
    path = folder / name
    allowed = [folder]
    if folder.resolve().parent.name == "snapshots":  # huggingface_hub keeps the contents beside it
        allowed.append(folder.resolve().parent.parent / "blobs")
    try:
        real = path.resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{printable(str(path))}: a link without end") from error
    if not any(real.is_relative_to(place.resolve()) for place in allowed):
        raise ValueError(
            f"{printable(str(path))}: a link to {printable(str(real))}, outside the model's "
            "folder; put the file itself there"
        )
    return path
