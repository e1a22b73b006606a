"""The files of a Stable Diffusion checkpoint: what they are called, whether they are whole.

Weights are one file, or shards with an index that says which of them holds what.
"""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from emodc.support import parsing
from emodc.support.tensors import read_names

PARTS = {
    "unet": "diffusion_pytorch_model",
    "vae": "diffusion_pytorch_model",
    "text_encoder": "model",
}
"""The folders with weights, and what the names of their weight files begin with."""

_MOST_JSON = 1 << 24  # bytes: an index names thousands of weights


def weight_files(folder: Path, variant: str | None) -> list[Path]:
    """Return the weight file of a part of a checkpoint, or the index of its shards and these.

    Where both are there the shards count, as for diffusers.

    Args:
        folder: named as in `PARTS`.
        variant: of the weight files.

    Raises:
        ValueError: a file is missing, unfinished, only there as pickle, or does not hold what the
            index says.
    """
    file, index = (folder / name for name in _names(folder.name, variant))
    if not index.is_file():
        if not file.is_file():
            raise ValueError(f"{file}: missing; {_remedy(folder)}")
        _keys(file)
        return [file]
    holds = read_json(index).get("weight_map")
    if not isinstance(holds, dict) or not holds:
        raise ValueError(f"{index}: names no shards; download it again")
    stem = PARTS[folder.name]
    for name in holds.values():
        # Shards lie beside their index, under names that begin as it does.
        if not isinstance(name, str) or not name.startswith(stem) or Path(name).name != name:
            raise ValueError(f"{index}: {name!r:.200} is no name of a shard; download it again")
    shards = {name: folder / name for name in sorted(set(holds.values()))}
    keys = {name: _keys(shard) for name, shard in shards.items()}
    for key, name in holds.items():
        if key not in keys[name]:
            raise ValueError(
                f"{shards[name]}: lacks {key}, which {index.name} says it holds: they are of two "
                "checkpoints"
            )
    return [index, *shards.values()]


def weight_patterns(part: str, variant: str | None) -> list[str]:
    """Return the names that the weight files of a part can have, for a download."""
    file, index = _names(part, variant)
    return [file, index, file.replace(".safetensors", "-*-of-*.safetensors")]


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file; as long as it is not written again, it is read once."""
    status = path.stat()
    return _content_hash(path.resolve(), status.st_size, status.st_mtime_ns)


def read_json(path: Path) -> dict[str, Any]:
    """Return the settings in a file.

    Raises:
        ValueError: it is missing or damaged.
    """
    if not path.exists():
        raise ValueError(
            f"{path}: missing; not a checkpoint in diffusers' layout, or half downloaded"
        )
    try:
        values = parsing.read_json(path, _MOST_JSON)
    except ValueError as error:
        raise ValueError(f"{error}; download it again") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: not a mapping of settings; download it again")
    return values


def _names(part: str, variant: str | None) -> tuple[str, str]:
    """Return what the file and the index are called where there is one."""
    inserted = f".{variant}" if variant else ""
    stem = PARTS[part]
    return f"{stem}{inserted}.safetensors", f"{stem}.safetensors.index{inserted}.json"


def _remedy(folder: Path) -> str:
    """Say what to do about a missing weight file, by what else is there."""
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    pickles = [*folder.glob("*.bin"), *folder.glob("*.ckpt")]
    if others and "-of-" not in others[0]:
        return f"the folder has {', '.join(others)}: set variant to what precedes the end"
    if pickles and not others:
        return (
            f"{pickles[0].name} is a pickle, which can run code and is not read: convert it with "
            "diffusers' save_pretrained(..., safe_serialization=True)"
        )
    return "download the checkpoint again" + (", with the index of its shards" if others else "")


def _keys(file: Path) -> set[str]:
    """Return the names of the weights in a file, which is whole if they can be read."""
    if not file.is_file():
        raise ValueError(f"{file}: missing; download the checkpoint again")
    try:
        return read_names(file)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{file}: incomplete or damaged ({error}); download the checkpoint again"
        ) from None


@lru_cache
def _content_hash(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
