"""Stable Diffusion checkpoints in diffusers' folder layout: finding, checking, describing them.

Only the layout is known here, not the networks: nothing heavy is imported, and a wrong checkpoint
is refused before any weight is read. Weights are safetensors, never pickle.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from emodc.backbones.stable_diffusion.files import (
    PARTS,
    file_hash,
    read_json,
    weight_files,
    weight_patterns,
)
from emodc.method.schedule import MOST_TIMESTEPS, Schedule

BASE_FOLDER = "EMODC_BASE"
"""Environment variable: the folder of a checkpoint that is no longer where a model says."""

_SUPPORTED = "supported are Stable Diffusion 1.x and 2.x text-to-image checkpoints"
_MOST = {
    "in_channels": 64,
    "out_channels": 64,
    "latent_channels": 64,
    "sample_size": 4096,
    "block_out_channels": 2048,
    "layers_per_block": 8,
    "transformer_layers_per_block": 8,
    "attention_head_dim": 2048,
    "cross_attention_dim": 4096,
    "hidden_size": 4096,
    "intermediate_size": 16384,
    "num_hidden_layers": 64,
    "vocab_size": 500_000,
    "max_position_embeddings": 4096,
    "num_train_timesteps": MOST_TIMESTEPS,
}
"""The largest numbers in the settings of a checkpoint's parts, by key."""

_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")


@dataclass(frozen=True, kw_only=True)
class CheckpointSource:
    """Where a Stable Diffusion checkpoint is found.

    Attributes:
        path: a folder in diffusers' layout, or a hub id ``owner/name``.
        revision: commit of the hub id; the newest if not given.
        variant: read the weight files ``*.VARIANT.safetensors``, for instance ``fp16``.
    """

    path: str
    revision: str | None = None
    variant: str | None = None

    def open(self) -> "SDCheckpoint":
        """Return the checkpoint, downloaded if need be.

        Raises:
            ValueError: it is not found, incomplete, or of another kind than Stable Diffusion
                1.x or 2.x; the message says what is wrong where.
        """
        folder = Path(self.path).expanduser()
        if not folder.is_dir():
            moved = os.environ.get(BASE_FOLDER)
            folder = Path(moved) if moved else _download(self.path, self.revision, self.variant)
        return _read(folder, self.variant)


@dataclass(frozen=True, kw_only=True)
class CheckpointSchedule(CheckpointSource):
    """The noise schedule that a checkpoint was trained with."""

    kind: Literal["checkpoint"] = "checkpoint"

    @property
    def timesteps(self) -> int:
        """T."""
        return self.build().timesteps

    def build(self) -> Schedule:
        """Return the schedule.

        Raises:
            ValueError: as for `CheckpointSource.open` and `SDCheckpoint.schedule`.
        """
        return self.open().schedule()


@dataclass(frozen=True, kw_only=True)
class SDCheckpoint:
    """A checkpoint whose files are there and fit together.

    Attributes:
        folder: where it is.
        variant: of the weight files.
        unet, vae, text_encoder, scheduler: the settings in its JSON files.
    """

    folder: Path
    variant: str | None
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    text_encoder: Mapping[str, Any]
    scheduler: Mapping[str, Any]

    @property
    def predicts_v(self) -> bool:
        """Whether the network predicts v instead of eps."""
        return bool(self.scheduler.get("prediction_type", "epsilon") == "v_prediction")

    @property
    def factor(self) -> int:
        """Pixels per latent along a side."""
        return int(2 ** (len(self.vae["block_out_channels"]) - 1))

    @property
    def size(self) -> int:
        """Side of the images it was made for, in pixels."""
        sample = self.unet["sample_size"]
        return self.factor * int(sample if isinstance(sample, int) else max(sample))

    @property
    def scaling(self) -> float:
        """What latents are multiplied by, for unit variance."""
        return float(self.vae["scaling_factor"])

    @property
    def shift(self) -> float:
        """What is subtracted from latents before."""
        return float(self.vae.get("shift_factor") or 0.0)

    def schedule(self) -> Schedule:
        """Return the noise schedule that the scheduler's settings describe.

        Raises:
            ValueError: its kind is not known.
        """
        given, name = self.scheduler, self.folder / "scheduler" / "scheduler_config.json"
        if given.get("rescale_betas_zero_snr"):
            raise ValueError(f"{name}: a schedule without signal at its end is not supported")
        steps, kind = int(given["num_train_timesteps"]), given["beta_schedule"]
        if (betas := given.get("trained_betas")) is not None:
            beta = torch.tensor(betas, dtype=torch.float64)
        elif kind == "linear":
            beta = torch.linspace(given["beta_start"], given["beta_end"], steps).double()
        elif kind == "scaled_linear":  # linear in the standard deviation
            ends = given["beta_start"] ** 0.5, given["beta_end"] ** 0.5
            beta = torch.linspace(*ends, steps, dtype=torch.float64) ** 2
        else:
            raise ValueError(f"{name}: beta_schedule '{kind}' is neither linear nor scaled_linear")
        return Schedule((1 - beta).cumprod(0))

    def weights(self, part: str) -> list[Path]:
        """Return the files that hold the weights of ``unet``, ``vae`` or ``text_encoder``.

        Raises:
            ValueError: as for `emodc.backbones.stable_diffusion.files.weight_files`.
        """
        return weight_files(self.folder / part, self.variant)

    def sha256(self) -> str:
        """Return a hash of what a model uses of it: UNet, VAE and schedule, as they are on disk."""
        files = self.weights("unet") + self.weights("vae")
        files += [self.folder / part / "config.json" for part in ("unet", "vae")]
        files.append(self.folder / "scheduler" / "scheduler_config.json")
        return hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()


@lru_cache
def _download(repository: str, revision: str | None, variant: str | None) -> Path:
    if repository.count("/") != 1 or repository.startswith(("/", ".", "~")):
        raise ValueError(
            f"no Stable Diffusion checkpoint '{repository}': give a folder in diffusers' layout or "
            f"a hub id owner/name; if a model's checkpoint was moved, set {BASE_FOLDER}=FOLDER"
        )
    wanted = ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/*"]
    for part in PARTS:
        wanted += [f"{part}/{name}" for name in ("config.json", *weight_patterns(part, variant))]
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"no folder and no hub checkpoint '{repository}' at {revision or 'main'}: {reason}"
        ) from None


def _read(folder: Path, variant: str | None) -> SDCheckpoint:
    index = folder / "model_index.json"
    if not index.is_file() and (list(folder.glob("*.ckpt")) + list(folder.glob("*.safetensors"))):
        raise ValueError(
            f"{folder}: holds a single-file checkpoint: convert it with diffusers' "
            "StableDiffusionPipeline.from_single_file(...).save_pretrained(FOLDER)"
        )
    pipeline = read_json(index).get("_class_name")
    unet = read_json(folder / "unet" / "config.json")
    if pipeline not in _PIPELINES or unet.get("_class_name") != "UNet2DConditionModel":
        raise ValueError(
            f"{folder}: a {pipeline} with a {unet.get('_class_name')}; {_SUPPORTED} in "
            "diffusers' layout, not SDXL, SD3 or FLUX"
        )
    checkpoint = SDCheckpoint(
        folder=folder,
        variant=variant,
        unet=unet,
        vae=read_json(folder / "vae" / "config.json"),
        text_encoder=read_json(folder / "text_encoder" / "config.json"),
        scheduler=read_json(folder / "scheduler" / "scheduler_config.json"),
    )
    _check(checkpoint)
    return checkpoint


def _check(checkpoint: SDCheckpoint) -> None:
    """Refuse what a Stable Diffusion 1.x or 2.x checkpoint does not have."""
    unet, folder = checkpoint.unet, checkpoint.folder
    needed = {
        "unet": ("in_channels", "sample_size", "cross_attention_dim"),
        "vae": ("block_out_channels", "latent_channels", "scaling_factor"),
        "text_encoder": ("hidden_size", "vocab_size", "max_position_embeddings"),
        "scheduler": ("num_train_timesteps", "beta_schedule", "beta_start", "beta_end"),
    }
    for part, keys in needed.items():
        if absent := [key for key in keys if getattr(checkpoint, part).get(key) is None]:
            raise ValueError(
                f"{folder / part}: its settings lack {', '.join(absent)}; {_SUPPORTED}"
            )
    for part in needed:
        _check_numbers(folder / part, getattr(checkpoint, part))
    if unet.get("addition_embed_type") or unet["in_channels"] != checkpoint.vae["latent_channels"]:
        raise ValueError(
            f"{folder / 'unet'}: takes {unet['in_channels']} channels and "
            f"{unet.get('addition_embed_type') or 'no'} further condition; {_SUPPORTED}"
        )
    if unet["cross_attention_dim"] != checkpoint.text_encoder["hidden_size"]:
        raise ValueError(
            f"{folder}: the UNet reads texts of width {unet['cross_attention_dim']}, the text "
            f"encoder writes {checkpoint.text_encoder['hidden_size']}: they are of two checkpoints"
        )
    prediction = checkpoint.scheduler.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise ValueError(f"{folder / 'scheduler'}: prediction_type '{prediction}'; {_SUPPORTED}")


def _check_numbers(folder: Path, settings: Mapping[str, Any]) -> None:
    """Refuse sizes far beyond those of Stable Diffusion, before anything is allocated."""
    for key, most in _MOST.items():
        values = settings.get(key)
        each = values if isinstance(values, list) else [values]
        given = [value for value in each if value is not None]
        if len(given) > 16 or not all(type(v) is int and 0 < v <= most for v in given):
            raise ValueError(f"{folder}: {key} is {values!r:.100}, not 1 to {most:,}; {_SUPPORTED}")
