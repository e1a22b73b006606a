"""The released file of FER2013: a row an image, parsed once and then taken from the cache."""

import gzip
import hashlib
import io
import logging
import zlib
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from emodc.data.readers.path_hints import advice
from emodc.support.cache import cache_folder, cached_array

_log = logging.getLogger(__name__)

FER2013_CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The class of each code 0..6 in the ``emotion`` column. This is not the order of `BASIC7`."""

SIDE = 48
"""Height and width of the images, in pixels."""

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The ``Usage`` of each split, in the order of `SPLITS`."""

FILES = ("fer2013.csv", "fer2013.csv.gz")
"""Names of the released file."""

_HEADER = "emotion,pixels,Usage"
_ROW = np.dtype(
    [
        ("pixels", np.uint8, (SIDE, SIDE)),
        ("emotion", np.uint8),  # code 0..6
        ("usage", np.uint8),  # position in USAGES
        ("first", np.int32),  # number of the first row with the same pixels
    ]
)


def is_folder_copy(folder: Path) -> bool:
    """Return whether this is the folder copy, and the released file is not there as well."""
    released = any((folder / name).is_file() for name in FILES)
    return not released and all((folder / name).is_dir() for name in ("train", "test"))


def read_rows(folder: Path) -> NDArray[np.void]:
    """Return all rows of the file in the folder, parsed once and then taken from the cache.

    Args:
        folder: holds ``fer2013.csv`` or ``fer2013.csv.gz``.

    Returns:
        (N,) structured array, read-only: ``pixels`` (48, 48) uint8, ``emotion`` the code in
        the file, ``usage`` the position in `USAGES`, ``first`` the number of the first row
        with the same pixels (its own number where there is none before it).

    Raises:
        ValueError: the file is missing or malformed; the message names file and line.
    """
    file = require_file(folder, *FILES).resolve()
    state = file.stat()
    return _cached_rows(file, state.st_size, state.st_mtime_ns, cache_folder())


def require_file(folder: Path, *names: str) -> Path:
    """Return the first of these files that the folder holds.

    Raises:
        ValueError: it holds none of them; the message says what was expected.
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = advice(folder, lambda other: any((other / name).is_file() for name in names))
    if names == FILES:
        found = found or advice(folder, is_folder_copy)
    raise ValueError(
        f"{folder}: no {' or '.join(names)} here{found or '; give the folder that holds it'}: "
        "fer2013.csv (or fer2013.csv.gz) and, for the FER+ labels, fer2013new.csv beside it"
    )


# Kept by the process as well: three splits share the rows, even where no cache can be written.
@lru_cache(maxsize=2)
def _cached_rows(file: Path, size: int, changed: int, cache: Path) -> NDArray[np.void]:
    key = hashlib.sha256(f"{file}\n{size}\n{changed}\n{_ROW}".encode()).hexdigest()[:16]
    rows = cached_array(cache / "fer2013" / f"{key}.npy", _ROW, lambda: _parse(file))
    rows.flags.writeable = False
    return rows


def _parse(file: Path) -> NDArray[np.void]:
    _log.info("parsing %s, which is done once", file)
    pixels, emotions, usages = bytearray(), bytearray(), bytearray()
    number = 1
    try:
        with _open_bytes(file) as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1:
                    _check_header(line)
                    continue
                emotion, values, usage = _parse_row(line)
                emotions.append(emotion)
                pixels += values
                usages.append(usage)
        if not usages:
            raise ValueError("the file ends here, without an image")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{file}: cannot be read beyond line {number} ({error}); check its access rights or "
            "download it again"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"{file}, line {number}: {error}; restore the line from the released file"
        ) from error
    rows = np.empty(len(usages), dtype=_ROW)
    rows["pixels"] = np.frombuffer(pixels, dtype=np.uint8).reshape(-1, SIDE, SIDE)
    rows["emotion"] = np.frombuffer(emotions, dtype=np.uint8)
    rows["usage"] = np.frombuffer(usages, dtype=np.uint8)
    seen: dict[bytes, int] = {}
    rows["first"] = [
        seen.setdefault(image.tobytes(), index) for index, image in enumerate(rows["pixels"])
    ]
    return rows


def _open_bytes(file: Path) -> IO[bytes]:
    if file.suffix == ".gz":
        # Rows are long: the larger buffer saves a third of the time.
        return io.BufferedReader(gzip.open(file, "rb"), buffer_size=1 << 20)
    return file.open("rb")


def _check_header(line: bytes) -> None:
    header = line.decode("utf-8-sig", errors="replace").strip()
    if header != _HEADER:
        raise ValueError(f"the header is '{header[:60]}' instead of '{_HEADER}'")


def _parse_row(line: bytes) -> tuple[int, bytes, int]:
    """Return the emotion code, the pixels as bytes and the position of the usage."""
    cells = [cell.strip(b' "\r\n') for cell in line.split(b",")]
    if len(cells) != 3:
        raise ValueError(f"{len(cells)} columns instead of 3")
    emotion, pixels, usage = cells
    if not (emotion.isdigit() and int(emotion) < len(FER2013_CODES)):
        raise ValueError(f"emotion {_shown(emotion)} instead of 0 to {len(FER2013_CODES) - 1}")
    if usage.decode(errors="replace") not in USAGES:
        raise ValueError(f"Usage {_shown(usage)} instead of {', '.join(USAGES)}")
    # Checked first, because fromstring stops without an error at what is not a number.
    if stray := pixels.translate(None, b"0123456789 "):
        raise ValueError(f"{_shown(stray)} among the pixels, which must be numbers")
    values = np.fromstring(pixels, dtype=np.int64, sep=" ")
    if len(values) != SIDE * SIDE:
        raise ValueError(f"{len(values)} pixels instead of {SIDE * SIDE}")
    if values.max() > 255:
        raise ValueError(f"pixel {values.max()} instead of 0 to 255")
    return int(emotion), values.astype(np.uint8).tobytes(), USAGES.index(usage.decode())


def _shown(cell: bytes) -> str:
    return f"'{cell[:20].decode(errors='replace')}'"
