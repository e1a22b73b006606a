"""Scoring: the errors of a data set's images, measured in chunks that survive an interruption."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from emodc.checkpoint import Model, pack_tensors, write_atomically
from emodc.classifier import DEFAULT_PAIRS, DrawBank, class_errors, draw_bank
from emodc.data.base import FaceData

_CHUNK = 16  # images scored between two saves

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all."""


@dataclass(frozen=True)
class Scores:
    """The noise-prediction errors of a data set's images.

    Attributes:
        index: (N,) int64, positions of the scored images in the data.
        errors: (N, K, S) float32, ``d_c,s`` in the model's label order.
        t: (S,) int64, the timesteps of the draws.
        skipped: the images that could not be read: position in the data and reason.
        seconds: spent on reading, encoding and scoring, earlier runs included.
    """

    index: Tensor
    errors: Tensor
    t: Tensor
    skipped: tuple[tuple[int, str], ...]
    seconds: float


def score_images(
    model: Model,
    data: FaceData,
    *,
    steps: int,
    seed: int = 0,
    folder: Path | None = None,
    pairs: int = DEFAULT_PAIRS,
    progress: Progress = lambda done, total: None,
) -> Scores:
    """Measure the noise-prediction errors of every image under all of the model's classes.

    Args:
        model: what predicts the noise.
        data: the images; one that cannot be read is skipped.
        steps: S, 1..T.
        seed: of the draws.
        folder: where finished chunks are saved and, by the same call, found again.
        pairs: most (image, draw) pairs in one call of the network.
        progress: is told how far it is.

    Raises:
        ValueError: ``steps`` is out of range, or ``folder`` holds chunks of another
            evaluation or a damaged one.
        OSError: ``folder`` cannot be written.
    """
    bank = draw_bank(model.schedule.timesteps, steps, model.settings.codec.shape, seed)
    identity: dict[str, str] = {}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        identity = _identity(model, data, steps, seed)
    parts: list[Scores] = []
    progress(0, len(data))
    for start in range(0, len(data), _CHUNK):
        indices = range(start, min(start + _CHUNK, len(data)))
        file = None if folder is None else folder / f"{start:07d}.safetensors"
        if file is not None and file.exists():
            part = _load_chunk(file, identity, bank)
        else:
            part = _score_chunk(model, data, indices, bank, pairs)
            if file is not None:
                _save_chunk(file, part, identity)
        parts.append(part)
        progress(indices.stop, len(data))
    return Scores(
        index=torch.cat([part.index for part in parts]),
        errors=torch.cat([part.errors for part in parts]),
        t=bank.t,
        skipped=tuple(pair for part in parts for pair in part.skipped),
        seconds=sum(part.seconds for part in parts),
    )


def _score_chunk(
    model: Model, data: FaceData, indices: range, bank: DrawBank, pairs: int
) -> Scores:
    started = time.perf_counter()
    shape = model.settings.codec.shape
    images, index, skipped = [torch.empty(0, *shape)], [], []
    for i in indices:
        try:
            images.append(model.settings.codec.encode([data.image(i)]))
            index.append(i)
        except ValueError as error:
            skipped.append((i, " ".join(str(error).split())))
    errors = class_errors(
        model.backbone.predict_noise,
        model.schedule,
        torch.cat(images).to(model.device),
        bank,
        len(model.label_set),
        pairs,
    )
    return Scores(
        index=torch.tensor(index, dtype=torch.int64),
        errors=errors,
        t=bank.t,
        skipped=tuple(skipped),
        seconds=time.perf_counter() - started,
    )


def _save_chunk(file: Path, part: Scores, identity: dict[str, str]) -> None:
    more = {"skipped": json.dumps(part.skipped), "seconds": repr(part.seconds)}
    tensors = {"index": part.index, "errors": part.errors}
    write_atomically(file, pack_tensors(tensors, identity | more))


def _load_chunk(file: Path, identity: dict[str, str], bank: DrawBank) -> Scores:
    try:
        with safe_open(file, framework="pt") as opened:
            found = dict(opened.metadata())
            index, errors = opened.get_tensor("index"), opened.get_tensor("errors")
        skipped = tuple((int(i), str(reason)) for i, reason in json.loads(found["skipped"]))
        seconds = float(found["seconds"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        raise ValueError(
            f"{file}: damaged; delete it and its images will be scored again"
        ) from None
    differing = [key for key, value in identity.items() if found.get(key) != value]
    if differing:
        raise ValueError(
            f"{file.parent}: belongs to an evaluation with another {', another '.join(differing)}; "
            "choose another output folder, or delete this one"
        )
    return Scores(index, errors, bank.t, skipped, seconds)


def _identity(model: Model, data: FaceData, steps: int, seed: int) -> dict[str, str]:
    """Return everything that decides the errors, by the name that an error message uses."""
    settings = json.dumps([model.settings.model_dump(mode="json"), model.label_set.classes])
    return {
        "weights": state_hash(model.backbone.state_dict()),
        "model settings": hashlib.sha256(settings.encode()).hexdigest(),
        "data": data.fingerprint(),
        "steps": str(steps),
        "seed": str(seed),
        "version of emodc": version("emodc"),
    }


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of weights as they are used, float32, whatever the file's precision."""
    return hashlib.sha256(pack_tensors(state)).hexdigest()
