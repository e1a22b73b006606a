"""The files of a saved model: where they are, and whether they are what was written."""

import hashlib
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from emodc.backbones.base import WEIGHTS
from emodc.backbones.stable_diffusion.unet import LORA, UNET, UNET_SETTINGS

FORMAT = 1
SETTINGS = "emodc.json"

MODEL_FILES = [WEIGHTS, SETTINGS, LORA, UNET, UNET_SETTINGS]
"""What a model's folder can hold, the card aside."""

BUNDLED = ("face48", "baseline-cnn", "baseline-cnn-augmented")
"""Models that come with the package, by name."""


def bundled_folder(name: str) -> Path:
    """Return the folder of a model that comes with the package."""
    return Path(str(resources.files("emodc") / "assets" / "models" / name))


def description_hash(settings: Mapping[str, Any]) -> str:
    """Return the hash of a description without its own; layout and key order do not matter."""
    described = {key: value for key, value in settings.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def locate(name: str) -> Path:
    """Return a model's folder by its path, its name, or its hub id ``owner/name[@revision]``.

    Raises:
        ValueError: there is no such model.
    """
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
            snapshot_download(repository, revision=revision or None, allow_patterns=MODEL_FILES)
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"no folder and no hub model '{name}': {reason}") from None


def read_settings(path: Path) -> dict[str, Any]:
    """Return what `SETTINGS` says.

    Raises:
        ValueError: it is missing, edited, damaged, or of another format.
    """
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


def read_file(path: Path, expected_sha256: object) -> bytes:
    """Return the content of a file.

    Raises:
        ValueError: it is missing, or its hash is not ``expected_sha256``.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}; copy the model again") from None
    if hashlib.sha256(content).hexdigest() != expected_sha256:
        raise ValueError(
            f"{path}: not the file that {SETTINGS} was written with (damaged, edited or from "
            "another run); copy all files again"
        )
    return content
