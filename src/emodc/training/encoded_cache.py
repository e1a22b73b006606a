"""Encoded images on disk, so that a costly codec works once for each image and not each epoch.

A cache is a folder in `cache_folder`, named by a hash of what decides its content: images and
codec. Its shards are safetensors files that hold ``x0`` and ``mirrored`` (x0 of the mirror image)
of `SHARD` images each, float32. A shard is whole or absent: what was interrupted goes on.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emodc.data.face_data import FaceData
from emodc.support.cache import cache_folder
from emodc.support.distributed import ALONE, World
from emodc.support.files import whole_file
from emodc.support.tensors import open_rows, pack_tensors

logger = logging.getLogger(__name__)

SHARD = 512
"""Images in a shard: of Stable Diffusion's latents, 64 MB."""

_AT_ONCE = 16  # images given to the codec in one call
_LAYOUT = 1
_NAMES = ("x0", "mirrored")


class CostlyCodec(Protocol):
    """What the cache needs of an `emodc.codecs.base.Codec`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of one x0."""

    @property
    def identity(self) -> str:
        """What, beside the crop, decides x0."""

    def encode(self, crops: Sequence[NDArray[np.uint8]], device: torch.device) -> Tensor:
        """Turn B crops into x0, (B, C, H, W) float32."""


class X0Cache:
    """x0 of every image of a dataset and of its mirror image, memory-mapped.

    Made on the first call for these images and this codec; several processes share the work.

    Args:
        data: the images.
        codec: encodes them.
        device: where to encode.
        world: the processes that need the cache.

    Raises:
        ValueError: an image cannot be read, or the processes do not see one and the same folder.
        OSError: the cache cannot be written.
    """

    def __init__(
        self, data: FaceData, codec: CostlyCodec, *, device: torch.device, world: World = ALONE
    ) -> None:
        content = f"{_LAYOUT}\n{data.fingerprint()}\n{codec.identity}"
        key = hashlib.sha256(content.encode()).hexdigest()[:32]
        self.folder = cache_folder() / "x0" / key
        shards = {n: range(n, min(n + SHARD, len(data))) for n in range(0, len(data), SHARD)}
        absent = [n for n, shard in shards.items() if self._open(shard, codec.shape) is None]
        # A process may have looked before, and another after a shard was written by a third.
        absent = sorted(set().union(*world.gather(absent)))
        if absent and world.is_main:
            count = sum(len(shards[n]) for n in absent)
            logger.info("encoding %d images, once, into %s", count, self.folder)
        for n in absent[world.rank :: world.size]:
            self._make(shards[n], data, codec, device)
        world.wait()
        self._shards: list[dict[str, Any]] = []
        for shard in shards.values():
            opened = self._open(shard, codec.shape)
            if opened is None:
                raise ValueError(
                    f"{self._file(shard)}: written by another process, but not seen by this one: "
                    "let EMODC_CACHE be a folder that all machines share"
                )
            self._shards.append(opened)

    def x0(self, image: NDArray[np.int64], mirrored: NDArray[np.bool_]) -> Tensor:
        """Return x0 of images (B,), of the mirror image where ``mirrored`` (B,): (B, C, H, W)."""
        wanted = zip(image.tolist(), mirrored.tolist(), strict=True)
        return torch.stack(
            [
                self._shards[i // SHARD]["mirrored" if flip else "x0"][i % SHARD]
                for i, flip in wanted
            ]
        )

    def _make(self, shard: range, data: FaceData, codec: CostlyCodec, device: torch.device) -> None:
        found: dict[str, list[Tensor]] = {name: [] for name in _NAMES}
        for start in range(0, len(shard), _AT_ONCE):
            crops = [data.image(i) for i in shard[start : start + _AT_ONCE]]
            flipped = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
            for name, images in zip(_NAMES, (crops, flipped), strict=True):
                found[name].append(codec.encode(images, device).float().cpu())
        about = {"data": data.name, "split": data.split, "codec": codec.identity}
        content = pack_tensors({name: torch.cat(parts) for name, parts in found.items()}, about)
        self.folder.mkdir(parents=True, exist_ok=True)
        with whole_file(self._file(shard), shared=True) as file:
            file.write(content)
        logger.info("%d images encoded", shard.stop)

    def _open(self, shard: range, shape: tuple[int, int, int]) -> dict[str, Any] | None:
        """Return what reads a shard's rows by name; nothing if it is absent or damaged."""
        try:
            slices = open_rows(self._file(shard), _NAMES)
        except (ValueError, OSError):
            return None
        right = all(s.get_shape() == [len(shard), *shape] for s in slices.values())
        return slices if right else None

    def _file(self, shard: range) -> Path:
        return self.folder / f"{shard.start:07d}.safetensors"
