"""Images that appear more than once: pixel for pixel, or as another encoding of the same image.

Copies are found by a hash of the decoded pixels. Near-copies (saved again as JPEG, resized a
little, made brighter or darker) are found in two steps:

1. A 64-bit perceptual hash: the signs of the lowest frequencies of the image, shrunk to 16x16
   gray levels. All pairs are compared; those that differ in at most 8 bits go on.
2. The correlation of the gradients of the two thumbnails, which must exceed 0.98. Aligned faces
   of different people share so much of their low frequencies that the hash alone confuses them.

Measured on FER2013 (34,030 different images), on 5,512 of them aligned by five landmarks, and
on 33,000 drawn faces, by looking at the pairs. The hash alone begins to confuse people at 7 bits,
on aligned faces at 6, on drawn faces at 1; with the second step all pairs of photographs that were
looked at showed one photograph each, and no two drawn faces were taken for one. Of images saved
with a JPEG quality of 30 or more, resized by 0.5 to 2, or changed in brightness by a tenth, at
least 99.6 % were found; of those a fifth brighter, whose whites are cut off, 93 %. Another crop of
the same photograph, shifted by 2 % or more, is mostly not found: it cannot be told in this way from
another aligned face. Frames of one film may be found.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emodc.support.timing import Progress, unheard

BLANK_RANGE = 8
"""An image whose brightest and darkest gray level are no further apart than this is blank."""

_SIDE = 16  # of the thumbnails, in pixels
_RESAMPLING = Image.Resampling.BILINEAR
_BITS = 8
_CORRELATION = 0.98
_BATCH = 128  # images a thread reads at a time
_THREADS = min(4, os.cpu_count() or 1)
_TILE = (64, 4096)  # hashes compared at a time: what fits into a core's cache
_PAIRS = 4096  # thumbnails compared at a time


@dataclass(frozen=True)
class Prints:
    """What is kept of N images to compare them: about 300 bytes each.

    Attributes:
        first: (N,) int64, the number of the first image with the same pixels (its own where
            there is none before it), -1 for an image that cannot be read.
        thumbnails: (N, 16, 16) uint8 gray.
        spans: (N,) uint8, the difference between the brightest and the darkest gray level.
        sizes: (N, 2) int32, height and width; 0 for an image that cannot be read.
        errors: by number, why an image cannot be read.
    """

    first: NDArray[np.int64]
    thumbnails: NDArray[np.uint8]
    spans: NDArray[np.uint8]
    sizes: NDArray[np.int32]
    errors: dict[int, str]

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(N,) bool."""
        return self.first >= 0

    @property
    def blank(self) -> NDArray[np.bool_]:
        """(N,) bool, images that show nothing."""
        return self.readable & (self.spans <= BLANK_RANGE)


def take_prints(
    reader: Callable[[int], NDArray[np.uint8]],
    rows: Sequence[int] | NDArray[np.int64],
    progress: Progress = unheard,
) -> Prints:
    """Decode images, several at a time, and keep what it takes to compare them.

    Args:
        reader: as of `Release`; called from several threads.
        rows: the N images to read; everything that is returned numbers them 0..N-1.
        progress: called now and then.
    """
    total = len(rows)
    digests: list[bytes | None] = [None] * total
    thumbnails = np.zeros((total, _SIDE, _SIDE), dtype=np.uint8)
    spans = np.zeros(total, dtype=np.uint8)
    sizes = np.zeros((total, 2), dtype=np.int32)
    errors: dict[int, str] = {}

    def read(batch: range) -> int:
        for number in batch:
            try:
                image = reader(int(rows[number]))
            except ValueError as error:  # not MemoryError: the images behind would fail as well
                errors[number] = str(error)
                continue
            digest = blake2b(repr(image.shape).encode(), digest_size=16)
            digest.update(np.ascontiguousarray(image).data)
            digests[number] = digest.digest()
            gray = Image.fromarray(image).convert("L")
            spans[number] = np.ptp(np.asarray(gray))
            sizes[number] = image.shape[:2]
            thumbnails[number] = np.asarray(gray.resize((_SIDE, _SIDE), _RESAMPLING))
        return batch.stop

    with ThreadPoolExecutor(_THREADS) as pool:
        batches = [range(i, min(i + _BATCH, total)) for i in range(0, total, _BATCH)]
        try:
            for done in pool.map(read, batches):
                progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    seen: dict[bytes, int] = {}
    first = [-1 if key is None else seen.setdefault(key, i) for i, key in enumerate(digests)]
    return Prints(
        np.array(first, dtype=np.int64), thumbnails, spans, sizes, dict(sorted(errors.items()))
    )


def perceptual_hash(thumbnails: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Hash images so that similar ones differ in few bits.

    A variant of the "pHash": signs of the discrete cosine transform's 8x8 lowest frequencies
    without the constant one, which only tells the brightness.

    Args:
        thumbnails: (N, 16, 16) uint8 gray.

    Returns:
        (N,) uint64.
    """
    frequency, place = np.arange(9)[:, None], np.arange(_SIDE) + 0.5
    cosines = np.cos(np.pi / _SIDE * place * frequency).astype(np.float32)
    bits = np.empty((len(thumbnails), 64), dtype=np.bool_)
    for start in range(0, len(thumbnails), 4096):
        part = thumbnails[start : start + 4096].astype(np.float32)
        spectrum = cosines @ part @ cosines.T
        chosen = spectrum[:, :8, :8].reshape(-1, 64) > 0
        chosen[:, 0] = spectrum[:, 0, 8] > 0
        bits[start : start + 4096] = chosen
    return np.packbits(bits, axis=1).view(np.uint64).ravel()


def near_pairs(prints: Prints) -> NDArray[np.int64]:
    """Find near-copies.

    Returns:
        (M, 2) int64 pairs i < j of images with different pixels, sorted. Of images with the
        same pixels only the first is compared; blank ones are left out.
    """
    numbers = np.arange(len(prints.first))
    compared = numbers[(prints.first == numbers) & ~prints.blank]
    thumbnails = prints.thumbnails[compared]
    found = [np.empty((0, 2), dtype=np.int64)]
    for similar in _similar_pairs(perceptual_hash(thumbnails)):
        for start in range(0, len(similar), _PAIRS):
            pairs = similar[start : start + _PAIRS]
            left, right = (_gradients(thumbnails[side]) for side in pairs.T)
            found.append(compared[pairs[(left * right).sum(axis=1) > _CORRELATION]])
    pairs = np.concatenate(found)
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]


def group_keys(keys: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Give one key to all items that hang together.

    Args:
        keys: N keys; items with the same one belong together already.
        pairs: items i, j that belong together as well.

    Returns:
        N keys: of each group the one that sorts first.
    """
    above: dict[str, str] = {}

    def top(key: str) -> str:
        while key in above:
            above[key] = above.get(above[key], above[key])  # halve the way for the next time
            key = above[key]
        return key

    for i, j in pairs:
        small, large = sorted((top(keys[i]), top(keys[j])))
        if small != large:
            above[large] = small
    return [top(key) for key in keys]


def _similar_pairs(hashes: NDArray[np.uint64]) -> Iterator[NDArray[np.int64]]:
    """Yield (M, 2) pairs i < j of (N,) hashes that differ in few bits, tile by tile."""
    rows, columns = _TILE
    differing = np.empty(_TILE, dtype=np.uint64)
    for top in range(0, len(hashes), rows):
        upper = hashes[top : top + rows, None]
        for left in range(top, len(hashes), columns):
            right = hashes[None, left : left + columns]
            tile = differing[: upper.shape[0], : right.shape[1]]
            np.bitwise_xor(upper, right, out=tile)
            i, j = np.nonzero(_count_ones(tile) <= _BITS)
            pairs = np.stack([i + top, j + left], axis=1)
            yield pairs[pairs[:, 0] < pairs[:, 1]]


def _count_ones(values: NDArray[np.uint64]) -> NDArray[np.uint8]:
    counts: NDArray[np.uint8]
    if hasattr(np, "bitwise_count"):  # since numpy 2.0
        counts = np.bitwise_count(values)
    else:
        quarters = _ones_of_16_bits()[np.ascontiguousarray(values).view(np.uint16)]
        counts = quarters.reshape(*values.shape, 4).sum(axis=-1, dtype=np.uint8)
    return counts


@lru_cache(maxsize=1)
def _ones_of_16_bits() -> NDArray[np.uint8]:
    return np.array([value.bit_count() for value in range(1 << 16)], dtype=np.uint8)


def _gradients(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (N, 480) float32, gradients with mean 0 and norm 1; zeros where there are none."""
    gray = thumbnails.astype(np.float32)
    parts = [np.diff(gray, axis=axis).reshape(len(gray), -1) for axis in (1, 2)]
    flat = np.concatenate(parts, axis=1)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    flat /= np.maximum(norms, 1e-6)
    return flat
