"""The cache folder: arrays that are slow to make, kept as files between runs."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
from numpy.typing import DTypeLike, NDArray

from emodc.support.files import whole_file

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """Return where cached files go: ``EMODC_CACHE`` if set, else the user's cache folder.

    The folder need not exist yet.
    """
    chosen = os.environ.get("EMODC_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("emodc"))


def cached_array(
    file: Path, dtype: DTypeLike, build: Callable[[], NDArray[np.void]]
) -> NDArray[np.void]:
    """Return a one-dimensional array from the cache; on the first call, build and keep it.

    The file appears under its name only when it is complete, so an interrupted run leaves
    nothing half-written to be believed, and runs side by side do no harm. Where it cannot
    be written (read-only or full disk) the array stays in memory and one warning is logged.

    Args:
        file: the cache file, ``*.npy``; its name must change whenever the content would.
        dtype: what the array must hold. A file that is damaged or holds something else is
            built again.
        build: makes the array, (N,) of ``dtype``.

    Returns:
        (N,) of ``dtype``, memory-mapped and read-only if it comes from the file.
    """
    kept = _load(file, dtype)
    if kept is not None:
        return kept
    array = build()
    try:
        _save(file, array)
    except OSError as error:
        _log.warning(
            "%s: cannot write the cache (%s); the data will be parsed again in every run "
            "unless EMODC_CACHE names a writable folder",
            file,
            error.strerror or error,
        )
        return array
    kept = _load(file, dtype)
    return array if kept is None else kept


def _load(file: Path, dtype: DTypeLike) -> NDArray[np.void] | None:
    try:
        array: NDArray[np.void] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # absent, empty, truncated or not an array file
        return None
    usable = isinstance(array, np.memmap) and array.dtype == dtype and array.ndim == 1
    return array if usable else None


def _save(file: Path, array: NDArray[np.void]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file, shared=True) as stream:
        np.save(stream, array, allow_pickle=False)
