"""FER2013, 35,887 pictures of 48x48 gray pixels.

Two layouts::

    ROOT/fer2013.csv        (or fer2013.csv.gz) as released: columns emotion,pixels,Usage
    ROOT/{train,test}/{angry,disgust,fear,happy,neutral,sad,surprise}/*.jpg    the folder copy

The Training, PublicTest and PrivateTest rows of the file (28,709, 3,589, 3,589) are the train,
validation and test splits; figures are reported on PrivateTest.

Rows repeat: hundreds of pictures of the two evaluation splits are also Training rows, pixel for
pixel. Those rows are left out of training and counted in the notes; the evaluation splits stay as
released, so that figures compare with published ones. The dozen blank pictures need no rule of
their own: FER+ marks them "not a face", and those in Training are copies of one in PublicTest.

The folder copy holds the same pictures, but its folder ``test`` is PublicTest and PrivateTest
together (7,178). Where all its files still carry these names (``PrivateTest_88305.jpg``), they are
parted by them. Where not (``im0.png``), the test split is both, whose figures compare with none on
PrivateTest, and validation is carved out of train. The copies of evaluated pictures cannot be left
out of training without reading all pictures, so they are not; ``emodc data check`` finds them.
FER+ goes by the order of the rows, which the folder copy has lost.

Source: Goodfellow et al., "Challenges in Representation Learning", ICONIP 2013. The pictures were
collected by web search and have no licence of their own.
"""

import gzip
import hashlib
import io
import logging
import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from emodc.crop_geometry import FER2013_GEOMETRY
from emodc.data.base import SPLITS
from emodc.data.cache import cache_folder, cached_array
from emodc.data.folder import read_folder
from emodc.data.release import Release
from emodc.data.roots import advice
from emodc.labels import BASIC7, LabelSet

_log = logging.getLogger(__name__)

_TERMS = (
    "pictures of FER2013, collected by web search without a licence of their own; "
    "FER+ labels by Microsoft, MIT licence"
)

FER2013_CODES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
"""The class of each code 0..6 in the ``emotion`` column. This is not the order of `BASIC7`."""

SIDE = 48
"""Height and width of the pictures, in pixels."""

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The ``Usage`` of each split, in the order of `SPLITS`."""
_OWNERS_NAMES = dict(zip(SPLITS, USAGES, strict=True))

OFFICIAL: Mapping[str, Mapping[str, int]] = {
    split: {"total": rows} for split, rows in zip(SPLITS, (28_709, 3_589, 3_589), strict=True)
}
"""The number of rows in each split, whatever their label."""

_PER_CLASS: Mapping[str, tuple[int, ...]] = {
    "train": (3995, 436, 4097, 7215, 4830, 3171, 4965),
    "validation": (467, 56, 496, 895, 653, 415, 607),
    "test": (491, 55, 528, 879, 594, 416, 626),
}
_OFFICIAL: Mapping[str, Mapping[str, int]] = {
    split: {**total, **dict(zip(FER2013_CODES, _PER_CLASS[split], strict=True))}
    for split, total in OFFICIAL.items()
}
_COPY_NOTES = {"copies of test pictures in train": "kept; `emodc data check` finds them"}
_FILES = ("fer2013.csv", "fer2013.csv.gz")
_HEADER = "emotion,pixels,Usage"
_ROW = np.dtype(
    [
        ("pixels", np.uint8, (SIDE, SIDE)),
        ("emotion", np.uint8),  # code 0..6
        ("usage", np.uint8),  # position in USAGES
        ("first", np.int32),  # number of the first row with the same pixels
    ]
)


def read_fer2013(folder: Path) -> Release:
    """Read the pictures with their original labels.

    Args:
        folder: holds ``fer2013.csv`` or ``fer2013.csv.gz``, or is the folder copy.

    Returns:
        Pictures as (48, 48) uint8 gray, classes in the order of `BASIC7`, no votes. An id
        is ``row`` and the number of the row in the file, counted from 0. From the folder copy:
        pictures as (48, 48, 3) uint8 RGB; an id is the path relative to ``folder``.

    Raises:
        ValueError: the file is missing or malformed, and the message names file and line; or
            the folder copy has other folders.
    """
    if is_folder_copy(folder):
        return _read_folder_copy(folder)
    rows = read_rows(folder)
    to_class = np.array([BASIC7.index(name) for name in FER2013_CODES], dtype=np.int64)
    return release_of(rows, to_class[rows["emotion"]], "fer2013", BASIC7, _OFFICIAL)


def is_folder_copy(folder: Path) -> bool:
    """Return whether this is the folder copy, and the released file is not there as well."""
    released = any((folder / name).is_file() for name in _FILES)
    return not released and all((folder / name).is_dir() for name in ("train", "test"))


def _read_folder_copy(folder: Path) -> Release:
    whole = read_folder(folder)
    if whole.label_set is not BASIC7:
        raise ValueError(
            f"{folder}: the class folders are {', '.join(whole.label_set.classes)}, but those of "
            f"FER2013 are {', '.join(BASIC7.classes)}; open other pictures as folder:PATH"
        )
    if len(whole.rows("validation")):
        raise ValueError(
            f"{folder}: the folder copy of FER2013 has no validation folder; open this one as "
            "folder:PATH"
        )
    facts = replace(
        whole,
        name="fer2013",
        geometry=FER2013_GEOMETRY,
        terms=_TERMS,
        notes={**whole.notes, **_COPY_NOTES},
    )
    tests = whole.rows("test")
    usages = [Path(whole.ids[row]).name.partition("_")[0] for row in tests]
    if set(usages) != set(USAGES[1:]):
        both = {key: n + _OFFICIAL["test"][key] for key, n in _OFFICIAL["validation"].items()}
        return replace(
            facts,
            official={"train": _OFFICIAL["train"], "test": both},
            owners_names={"train": USAGES[0], "test": " + ".join(USAGES[1:])},
        )
    splits = whole.splits.copy()
    splits[tests] = [USAGES.index(usage) for usage in usages]
    return replace(facts, splits=splits, official=_OFFICIAL, owners_names=_OWNERS_NAMES)


def release_of(
    rows: NDArray[np.void],
    labels: NDArray[np.int64],
    name: str,
    label_set: LabelSet,
    official: Mapping[str, Mapping[str, int]],
    votes: NDArray[np.float32] | None = None,
) -> Release:
    """Return the pictures with these labels.

    Args:
        rows: (N,) all rows, from `read_rows`.
        labels: (N,) class indices, -1 where a row has no label.
        name: what the data set is called.
        label_set: the K classes that ``labels`` index.
        official: see `Release`.
        votes: (N, K) label distributions that sum to 1 in labelled rows.
    """
    usage, first, pixels = rows["usage"], rows["first"], rows["pixels"]
    in_training = usage == SPLITS.index("train")
    return Release(
        name=name,
        label_set=label_set,
        ids=[f"row{number:05d}" for number in range(len(rows))],
        splits=usage.astype(np.int8),
        labels=labels,
        reader=lambda index: np.array(pixels[index]),
        stamp=lambda index: f"{zlib.crc32(pixels[index].tobytes()):08x}",
        votes=votes,
        copied=in_training & np.isin(first, first[~in_training]),
        official=official,
        owners_names=_OWNERS_NAMES,
        geometry=FER2013_GEOMETRY,
        terms=_TERMS,
    )


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
    file = require_file(folder, *_FILES).resolve()
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
    if names == _FILES:
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
            raise ValueError("the file ends here, without a picture")
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
        seen.setdefault(picture.tobytes(), index) for index, picture in enumerate(rows["pixels"])
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
