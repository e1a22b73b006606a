"""Models on disk: weights in safetensors, everything that must travel with them in JSON.

``model.safetensors`` holds the backbone's weights; ``emodc.json`` holds the label order, the
settings of schedule, codec and backbone, the crop geometry, the fitted posterior, hashes of all
files, and what the card tells of data and licence. A fine-tuned Stable Diffusion has its LoRA or
UNet in further files, as diffusers names them, and the hash of the checkpoint it was made from.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from emodc.backbones.base import DTYPES, WEIGHTS, Backbone, Classifier
from emodc.classifier import DEFAULT_PAIRS, Measure, class_errors, measure_errors, shown_errors
from emodc.crop_geometry import CropGeometry
from emodc.decision import Decision, NoiseFloor
from emodc.diffusion import Schedule
from emodc.discriminative import class_log_losses, log_losses
from emodc.draws import DrawBank, Shown, draw_bank, spaced_timesteps
from emodc.files import write_atomically
from emodc.labels import LabelSet, prompt_texts
from emodc.model_files import FORMAT, SETTINGS, description_hash, locate, read_file, read_settings
from emodc.model_settings import ModelSettings
from emodc.noise_level import observe

LICENCE = "Apache-2.0"
"""Of the weights; that of the pictures they were trained on is among the facts."""


@dataclass(frozen=True)
class Model:
    """A network with everything needed to use it.

    Attributes:
        name: what the model is called in reports.
        settings: schedule, codec and backbone settings.
        label_set: the ordered classes.
        geometry: where the crops it was trained on show the landmarks; None if that is not known,
            so that it can only be shown crops.
        backbone: the network, in evaluation mode; a rival's is no backbone but a classifier.
        schedule: the noise schedule that ``settings`` describes.
        decision: how errors become an answer.
        facts: JSON values for the card: training run, data, licence.
        precision: fp32, bf16 or fp16, that the network computes in when it scores; errors are
            always float32.
    """

    name: str
    settings: ModelSettings
    label_set: LabelSet
    geometry: CropGeometry | None
    backbone: Backbone | Classifier
    schedule: Schedule
    decision: Decision
    facts: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "fp32"

    def predict_noise(self, xt: Tensor, t: Tensor, prompts: Tensor) -> Tensor:
        """Predict the noise as `Backbone.predict_noise` does, in the model's precision.

        Raises:
            ValueError: the model is a rival.
        """
        if isinstance(self.backbone, Classifier):
            raise ValueError(
                f"'{self.name}' is a discriminative classifier, which predicts no noise: give a "
                "diffusion model"
            )
        with self._arithmetic(xt.device):
            return self.backbone.predict_noise(xt, t, prompts)

    def draws(self, steps: int, seed: int = 0) -> DrawBank:
        """Return the draws with which the model is scored.

        Args:
            steps: draws asked for; so many are taken as `draws_taken` says.
            seed: of the noise.

        Raises:
            ValueError: steps is outside 1..T.
        """
        timesteps, shape = self.schedule.timesteps, self.settings.codec.shape
        taken = self.draws_taken(steps)
        return draw_bank(timesteps, taken, shape, seed, mirror=self.decision.mirror)

    def draws_taken(self, steps: int) -> int:
        """Return S: the draws asked for, or what a rival needs that sees no noise.

        It answers once for the picture, and once for its mirror image if the decision asks for it.

        Raises:
            ValueError: steps is outside 1..T.
        """
        spaced_timesteps(self.schedule.timesteps, steps)  # complains
        return steps if self.sees_noise else 1 + self.decision.mirror

    def observe(self, x0: Tensor) -> tuple[Tensor, Tensor]:
        """Return pictures and the levels of the noise that they carry.

        Args:
            x0: (B, C, H, W) as the codec gives them.

        Returns:
            (B, C, H, W), (B,); see `emodc.noise_level.observe`. With a decision that takes all
            pictures for clean ones: x0 and zeros.
        """
        floor = self.decision.noise_floor
        if floor is None:
            return x0, torch.zeros(len(x0), device=x0.device)
        return observe(x0, floor.texture, floor.least)

    def noise_gain(self, sigma: Tensor) -> Tensor:
        """Return how many times the errors of pictures with noise of levels sigma (B,) count."""
        floor = self.decision.noise_floor
        return 1 + (0.0 if floor is None else floor.gain) * sigma.square()

    def ignoring_noise(self) -> "Model":
        """Return the model with plain scoring, which takes all pictures for clean ones."""
        return self.with_noise_floor(None)

    def with_noise_floor(self, floor: NoiseFloor | None) -> "Model":
        """Return the model with another idea of how clean pictures look; None: all are clean."""
        return replace(self, decision=self.decision.model_copy(update={"noise_floor": floor}))

    def shown_errors(self, shown: Shown) -> Tensor:
        """Return the errors of (image, draw) pairs under all classes.

        Errors of a rival are what `emodc.discriminative` says.

        Args:
            shown: M pairs.

        Returns:
            (M, K) float32, with gradients to what is shown.
        """
        device = shown.x.device
        if isinstance(self.backbone, Classifier):
            with self._arithmetic(device):
                return log_losses(self.backbone, shown)
        prompts = torch.arange(len(self.label_set), device=device).expand(len(shown.x), -1)
        return shown_errors(self.predict_noise, self.schedule, shown, prompts)

    def measure(self, x0: Tensor, bank: DrawBank, pairs: int = DEFAULT_PAIRS) -> Measure:
        """Return what measures single (image, draw) pairs under chosen classes.

        See `emodc.classifier.measure_errors`; the noise that pictures carry is accounted for.
        """
        x, sigma = self.observe(x0)
        measure = measure_errors(self.predict_noise, self.schedule, x, bank, pairs, sigma)
        gain = self.noise_gain(sigma).cpu()
        return lambda image, draw, prompts: measure(image, draw, prompts) * gain[image].unsqueeze(1)

    def class_errors(self, x0: Tensor, bank: DrawBank, pairs: int = DEFAULT_PAIRS) -> Tensor:
        """Return the errors of every image under every class and draw, (B, K, S) float32.

        See `emodc.classifier.class_errors` and, for rivals,
        `emodc.discriminative.class_log_losses`; the noise that pictures carry is accounted for.
        """
        classes = len(self.label_set)
        x, sigma = self.observe(x0)
        gain = self.noise_gain(sigma).cpu().view(-1, 1, 1)
        if isinstance(self.backbone, Classifier):
            with self._arithmetic(x0.device):
                losses = class_log_losses(
                    self.backbone, self.schedule, x, bank, classes, pairs, sigma
                )
            return gain * losses
        return gain * class_errors(
            self.predict_noise, self.schedule, x, bank, classes, pairs, sigma
        )

    def _arithmetic(self, device: torch.device) -> torch.autocast:
        dtype = DTYPES[self.precision]
        return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)

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
        return next(chain(self.backbone.parameters(), self.backbone.buffers())).device

    @property
    def sees_noise(self) -> bool:
        """Whether it takes draws; other rivals see the clean picture, once."""
        return not isinstance(self.backbone, Classifier) or self.backbone.sees_noise


def build_backbone(
    settings: ModelSettings, label_set: LabelSet, schedule: Schedule
) -> Backbone | Classifier:
    """Return a network to be trained, in the memory layout that convolutions like best.

    Raises:
        ValueError: the prompts or the checkpoint it starts from cannot be used.
    """
    texts = prompt_texts(label_set, settings.prompts)
    return settings.backbone.build(texts, schedule).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


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
        "licence": LICENCE,
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
        precision: see `Model`; the weights stay float32.

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
    """Serialise tensors as safetensors, whatever their memory layout."""
    return save({key: value.contiguous().cpu() for key, value in tensors.items()}, metadata)
