"""Stable Diffusion checkpoints in diffusers' folder layout: finding, checking, describing them.

Only the layout is known here, not the networks: nothing heavy is imported, and a wrong checkpoint
is refused before any weight is read. Weights are safetensors, never pickle.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from emodc.diffusion import Schedule

BASE_FOLDER = "EMODC_BASE"
"""Environment variable: the folder of a checkpoint that is no longer where a model says."""

_SUPPORTED = "supported are Stable Diffusion 1.x and 2.x text-to-image checkpoints"
_PIPELINES = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
_STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}
_STEMS["text_encoder"] = "model"


@dataclass(frozen=True, kw_only=True)
class CheckpointSource:
    """Where a Stable Diffusion checkpoint is found.

    Attributes:
        path: a folder in diffusers' layout, or a hub id ``owner/name``.
        revision: commit of the hub id; the newest if not given.
        variant: read the weight files ``*.VARIANT.safetensors``, for instance ``fp16``.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (read by pydantic, not a field)

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
        """Side of the pictures it was made for, in pixels."""
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

    def weights(self, part: str) -> Path:
        """Return the weight file of ``unet``, ``vae`` or ``text_encoder``.

        Raises:
            ValueError: it is missing, unfinished, or only there as pickle.
        """
        ending = f".{self.variant}.safetensors" if self.variant else ".safetensors"
        file = self.folder / part / f"{_STEMS[part]}{ending}"
        if not file.is_file():
            others = sorted(path.name for path in file.parent.glob("*.safetensors"))
            pickles = [*file.parent.glob("*.bin"), *file.parent.glob("*.ckpt")]
            hint = "download the checkpoint again"
            if others:
                hint = f"the folder has {', '.join(others)}: set variant to what precedes the end"
            elif pickles:
                hint = (
                    f"{pickles[0].name} is a pickle, which can run code and is not read: convert "
                    "it with diffusers' save_pretrained(..., safe_serialization=True)"
                )
            raise ValueError(f"{file}: missing; {hint}")
        try:
            with safe_open(file, framework="pt"):
                return file
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{file}: incomplete or damaged ({error}); download the checkpoint again"
            ) from None

    def sha256(self) -> str:
        """Return a hash of what a model uses of it: UNet, VAE and schedule, as they are on disk."""
        files = [self.weights("unet"), self.weights("vae")]
        files += [self.folder / part / "config.json" for part in ("unet", "vae")]
        files.append(self.folder / "scheduler" / "scheduler_config.json")
        return hashlib.sha256("".join(map(_file_hash, files)).encode()).hexdigest()


def _file_hash(path: Path) -> str:
    status = path.stat()
    return _content_hash(path.resolve(), status.st_size, status.st_mtime_ns)


@lru_cache
def _content_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache
def _download(repository: str, revision: str | None, variant: str | None) -> Path:
    if repository.count("/") != 1 or repository.startswith(("/", ".", "~")):
        raise ValueError(
            f"no Stable Diffusion checkpoint '{repository}': give a folder in diffusers' layout or "
            f"a hub id owner/name; if a model's checkpoint was moved, set {BASE_FOLDER}=FOLDER"
        )
    ending = f".{variant}.safetensors" if variant else ".safetensors"
    wanted = ["model_index.json", "scheduler/scheduler_config.json", "tokenizer/*"]
    for part, stem in _STEMS.items():
        wanted += [f"{part}/config.json", f"{part}/{stem}{ending}"]
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
    pipeline = _json(index).get("_class_name")
    unet = _json(folder / "unet" / "config.json")
    if pipeline not in _PIPELINES or unet.get("_class_name") != "UNet2DConditionModel":
        raise ValueError(
            f"{folder}: a {pipeline} with a {unet.get('_class_name')}; {_SUPPORTED} in "
            "diffusers' layout, not SDXL, SD3 or FLUX"
        )
    checkpoint = SDCheckpoint(
        folder=folder,
        variant=variant,
        unet=unet,
        vae=_json(folder / "vae" / "config.json"),
        text_encoder=_json(folder / "text_encoder" / "config.json"),
        scheduler=_json(folder / "scheduler" / "scheduler_config.json"),
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


def _json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path}: missing; not a checkpoint in diffusers' layout, or half downloaded"
        ) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); download it again") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a mapping of settings; download it again")
    return values
