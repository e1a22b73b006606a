"""Scoring a dataset's images in chunks that survive an interruption."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from emodc.data.face_data import FaceData
from emodc.method.errors import DEFAULT_PAIRS
from emodc.model.identity import model_identity
from emodc.model.model import Model
from emodc.support.distributed import ALONE, World
from emodc.support.files import one_line
from emodc.support.results import Result, load_result, save_result
from emodc.support.timing import Progress, unheard

_CHUNK = 16  # images scored between two saves

Score = Callable[[Tensor], Mapping[str, Tensor]]
"""``score(x0 (B,C,H,W)) -> {name: (B, ...)}``: what is kept of the images, on the CPU."""


@dataclass(frozen=True)
class Scores:
    """What was kept of a dataset's images.

    Attributes:
        index: (N,) int64, positions of the scored images in the data.
        values: (N, ...) by name, what `Score` returned.
        skipped: the images that could not be read: position in the data and reason.
        seconds: spent on reading, encoding and scoring, earlier runs included.
    """

    index: Tensor
    values: Mapping[str, Tensor]
    skipped: tuple[tuple[int, str], ...]
    seconds: float

    def result(self) -> Result:
        """Return them as they are kept in a file."""
        return Result(
            {"index": self.index, **self.values},
            {"skipped": self.skipped, "seconds": self.seconds},
        )


def score_errors(model: Model, *, steps: int, seed: int = 0, pairs: int = DEFAULT_PAIRS) -> Score:
    """Return a `Score` of all classes' errors with all draws.

    It keeps ``errors`` (B, K, S) float32, of `Model.class_errors`, and, if the model accounts for
    noise, ``sigma`` (B,) float32, the levels that it found.

    Args:
        model: what predicts the noise.
        steps: S, 1..T.
        seed: of the draws.
        pairs: most (image, draw) pairs in one call of the network.

    Raises:
        ValueError: ``steps`` is out of range.
    """
    bank = model.draws(steps, seed)

    def score(x0: Tensor) -> Mapping[str, Tensor]:
        errors = {"errors": model.class_errors(x0, bank, pairs)}
        if model.decision.noise_floor is None:
            return errors
        return errors | {"sigma": model.observe(x0)[1].cpu()}

    return score


def score_images(
    model: Model,
    data: FaceData,
    score: Score,
    settings: Mapping[str, object],
    *,
    folder: Path | None = None,
    chunk: int = _CHUNK,
    progress: Progress = unheard,
    world: World = ALONE,
) -> Scores:
    """Score every image.

    Several processes share what is not yet saved, and all of them get all scores.

    Args:
        model: whose codec encodes the images.
        data: the images; one that cannot be read is skipped.
        score: what to measure.
        settings: what, beside model and data, decides the result: by the name that an error
            message uses.
        folder: where finished chunks are saved and, by the same call, found again.
        chunk: images scored between two saves.
        progress: is told how far it is.
        world: the processes that score together.

    Raises:
        ValueError: ``folder`` holds chunks of another evaluation or a damaged one.
        OSError: ``folder`` cannot be written.
    """
    identity: dict[str, str] = {}
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        identity = model_identity(model) | {"data": data.fingerprint()}
        identity |= {key: str(value) for key, value in settings.items()}
    starts = range(0, len(data), chunk)
    files = {} if folder is None else {n: _chunk_file(folder, n) for n in starts}
    mine = _deal(starts, [n for n, file in files.items() if file.exists()], world)
    images = {n: range(n, min(n + chunk, len(data))) for n in mine}
    done, total = 0, sum(map(len, images.values()))
    found: dict[int, Scores] = {}
    progress(done, total)
    for start, indices in images.items():
        file = files.get(start)
        part = None if file is None else _load_chunk(file, identity, indices)
        if part is None:
            part = _score_chunk(model, data, indices, score)
            if file is not None:
                save_result(file, part.result(), identity)
        found[start] = part
        done += len(indices)
        progress(done, total)
    everyones = {start: part for share in world.gather(found) for start, part in share.items()}
    parts = [everyones[start] for start in starts]
    if any(part.values.keys() != parts[0].values.keys() for part in parts):
        raise ValueError(f"{folder}: its files hold different measures; choose another folder")
    return Scores(
        index=torch.cat([part.index for part in parts]),
        values={name: torch.cat([part.values[name] for part in parts]) for name in parts[0].values},
        skipped=tuple(pair for part in parts for pair in part.skipped),
        seconds=sum(part.seconds for part in parts),
    )


def unscored(folder: Path, images: int, chunk: int = _CHUNK) -> int:
    """Return how many of a dataset's images `score_images` would still have to score.

    Args:
        folder: as given to it; need not exist.
        images: N, of the data.
        chunk: as given to it.
    """
    missing = (n for n in range(0, images, chunk) if not _chunk_file(folder, n).exists())
    return sum(min(chunk, images - n) for n in missing)


def _chunk_file(folder: Path, start: int) -> Path:
    return folder / f"{start:07d}.safetensors"


def _deal(chunks: Sequence[int], saved: Sequence[int], world: World) -> list[int]:
    """Return the chunks that this process answers for.

    A saved one falls to the first process that sees its file, the others go round: so a
    scoring that goes on is shared evenly, and machines need no common file system.
    """
    seen = world.gather(saved)
    owner = {n: rank for rank in reversed(range(world.size)) for n in seen[rank]}
    missing = [n for n in chunks if n not in owner]
    owner |= {n: turn % world.size for turn, n in enumerate(missing)}
    return [n for n in chunks if owner[n] == world.rank]


def _score_chunk(model: Model, data: FaceData, indices: range, score: Score) -> Scores:
    started = time.perf_counter()
    nothing = torch.empty(0, *model.settings.codec.shape, device=model.device)
    images, index, skipped = [nothing], [], []
    for i in indices:
        try:
            images.append(model.settings.codec.encode([data.image(i)], model.device))
            index.append(i)
        except ValueError as error:
            skipped.append((i, one_line(error)))
    return Scores(
        index=torch.tensor(index, dtype=torch.int64),
        values=score(torch.cat(images)),
        skipped=tuple(skipped),
        seconds=time.perf_counter() - started,
    )


def _load_chunk(file: Path, identity: Mapping[str, str], indices: range) -> Scores | None:
    found = load_result(file, identity, ("index",), ("skipped", "seconds"))
    if found is None:
        return None
    values = dict(found.tensors)
    index, skipped = values.pop("index"), found.facts["skipped"]
    try:
        part = Scores(
            index=index,
            values=values,
            skipped=tuple((int(i), str(reason)) for i, reason in skipped),
            seconds=float(found.facts["seconds"]),
        )
        named = sorted([*index.tolist(), *(i for i, _ in part.skipped)])
    except (TypeError, ValueError):
        named = []
    whole = index.dtype == torch.int64 and all(
        value.ndim and len(value) == len(index) for value in values.values()
    )
    if not whole or named != list(indices):
        raise ValueError(f"{file}: damaged; delete it and it will be measured again")
    return part
