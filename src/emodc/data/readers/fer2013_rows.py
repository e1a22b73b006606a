"""The released file of FER2013: a row an image, parsed once and then taken from the cache."""

import gzip
import hashlib
import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from emodc.data.readers.path_hints import advice
from emodc.data.readers.split_names import split_folders
from emodc.faces.listing import list_folders
from emodc.labels import canonical_name
from emodc.support.cache import cache_folder, cached_array
from emodc.support.parsing import numbered_lines, open_regular
from emodc.support.text import printable

_log = logging.getLogger(__name__)

FER2013_CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The class of each code 0..6 in the ``emotion`` column. This is not the order of `BASIC7`."""

SIDE = 48
"""Height and width of the images, in pixels."""

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The ``Usage`` of each split, in the order of `SPLITS`."""

FILES = (
    *("fer2013.csv", "fer2013.csv.gz", "icml_face_data.csv", "icml_face_data.csv.gz"),
    *("train.csv", "train.csv.gz"),
)
"""Names of the released file: the authors', then two of the competition. Of these the first has the
same rows, the other those of training alone, without the column ``Usage``."""

_HEADER = "emotion,pixels,Usage"
_LONGEST = 1 << 15  # bytes of a row, which takes 9,300
_MOST_ROWS = 100_000
_CODES = [str(code).encode() for code in range(len(FER2013_CODES))]
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
    if not folder.is_dir() or any((folder / name).is_file() for name in FILES):
        return False
    sources = split_folders(folder)
    if not {"train", "test"} <= set(sources):
        return False
    # A look at the classes, too: many datasets have these two folders.
    found = {canonical_name(inside.name) for inside in list_folders(sources["train"])}
    return bool(found & set(FER2013_CODES))


def read_rows(folder: Path) -> NDArray[np.void]:
    """Return all rows of the file in the folder, parsed once and then taken from the cache.

    Args:
        folder: holds one of `FILES`.

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
        f"{folder}: no {' or '.join(names[:2])} here{found or '; give the folder that holds it'}: "
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
    number, columns = 1, tuple[str, ...]()
    try:
        with _opened(file) as stream:
            for number, line in numbered_lines(stream, _LONGEST):
                if not line:
                    raise ValueError(f"the line has more than {_LONGEST:,} characters")
                if number == 1:
                    columns = _parse_header(line)
                    continue
                if number > _MOST_ROWS:
                    raise ValueError(f"more than {_MOST_ROWS:,} rows, where the release has 35,887")
                emotion, values, usage = _parse_row(line, columns)
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


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    with open_regular(file) as raw:
        if file.suffix != ".gz":
            yield raw
            return
        # Rows are long: the larger buffer saves a third of the time.
        with gzip.open(raw, "rb") as plain:
            buffered = io.BufferedReader(cast(io.RawIOBase, plain), buffer_size=1 << 20)
            yield cast(BinaryIO, buffered)


def _parse_header(line: bytes) -> tuple[str, ...]:
    """Return the names of the columns in lower case: those of `_HEADER` in any order."""
    header = line.decode("utf-8-sig", errors="replace").strip()
    columns = tuple(cell.strip(' "').lower() for cell in header.split(","))
    if sorted(columns) not in (["emotion", "pixels"], ["emotion", "pixels", "usage"]):
        raise ValueError(f"the header is '{printable(header[:60])}' instead of '{_HEADER}'")
    return columns


def _parse_row(line: bytes, columns: tuple[str, ...]) -> tuple[int, bytes, int]:
    """Return the emotion code, the pixels as bytes and the position of the usage."""
    cells = [cell.strip(b' "\r\n') for cell in line.split(b",")]
    if len(cells) != len(columns):
        raise ValueError(f"{len(cells)} columns instead of {len(columns)}")
    row = dict(zip(columns, cells, strict=True))
    emotion, pixels = row["emotion"], row["pixels"]
    usage = row.get("usage", USAGES[0].encode()).decode(errors="replace")
    if emotion not in _CODES:
        raise ValueError(f"emotion {_shown(emotion)} instead of 0 to {len(FER2013_CODES) - 1}")
    if usage not in USAGES:
        raise ValueError(f"Usage {_shown(usage.encode())} instead of {', '.join(USAGES)}")
    # Checked first, because fromstring stops without an error at what is not a number.
    if stray := pixels.translate(None, b"0123456789 "):
        raise ValueError(f"{_shown(stray)} among the pixels, which must be numbers")
    values = np.fromstring(pixels, dtype=np.int64, sep=" ")
    if len(values) != SIDE * SIDE:
        raise ValueError(f"{len(values)} pixels instead of {SIDE * SIDE}")
    if values.max() > 255:
        raise ValueError(f"pixel {values.max()} instead of 0 to 255")
    return int(emotion), values.astype(np.uint8).tobytes(), USAGES.index(usage)


def _shown(cell: bytes) -> str:
    return f"'{printable(cell[:20].decode(errors='replace'))}'"
