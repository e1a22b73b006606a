"""AffectNet: faces from the web, labeled by hand, in 7 classes or in 8 with contempt.

Source: Mollahosseini, Hasani, Mahoor, "AffectNet: A Database for Facial Expression, Valence, and
Arousal Computing in the Wild", IEEE Transactions on Affective Computing 10 (2019), 18-31.
Terms: academic research, by an agreement with the University of Denver that forbids passing the
images on, in whole or in part.

Two layouts. The older, CSV release: whole photographs and a box around each face::

    ROOT/Manually_Annotated_Images/<n>/<hash>.jpg    (or inside a folder Manually_Annotated)
    ROOT/training.csv, ROOT/validation.csv           (or inside Manually_Annotated_file_lists)

with the columns of `COLUMNS`, with or without that header line; what lies in the box is read. The
newer, npy release: images that are cut to the face already::

    ROOT/{train_set,val_set}/images/N.jpg
    ROOT/{train_set,val_set}/annotations/N_exp.npy   (N_val, N_aro and N_lnd are not needed)

Codes: 0 Neutral 1 Happy 2 Sad 3 Surprise 4 Fear 5 Disgust 6 Anger 7 Contempt 8 None 9 Uncertain
10 No-Face. Rows with the codes 8 to 10, and in 7 classes those with 7, have no label.

Counts of training: 74,874 neutral, 134,415 happy, 25,459 sad, 14,090 surprise, 6,378 fear, 3,803
disgust and 24,882 anger, together 283,901; with 3,750 contempt 287,651, which is the npy release;
with 33,088 none, 11,645 uncertain and 82,415 without a face 414,799, which is the CSV release.
Validation: 500 of each of the eleven; the npy release lacks one image of contempt (3,999).

The owners' validation set is ``test`` here: as their test set is not public, the field reports
its figures on it (3,500 images in 7 classes, 3,999 or 4,000 in 8), and choosing a checkpoint by
it would be choosing on test. ``validation`` is carved out of the owners' training set.

Traps: a reader that takes the first row of a list without a header for one loses an image; a box
may reach beyond its image; public code keeps lists of damaged and repeated images; training
is imbalanced (35 to 1) where the validation set is balanced.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emodc.data.face_data import SPLITS
from emodc.data.readers.affectnet_npy import CODE_OF, LAST_CODE, list_names, read_labels
from emodc.data.readers.path_hints import advice
from emodc.data.release import Release, file_stamp
from emodc.faces.formats import IMAGE_SUFFIXES
from emodc.faces.reading import MAX_SIDE, read_image
from emodc.labels import LabelSet
from emodc.support.parsing import bounded_int, numbered_lines, open_regular
from emodc.support.text import printable

CODES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""The class of each code 0..7; the codes 8 to 10 are no class."""

COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
"""The columns of the lists of the CSV release."""

_TERMS = (
    "images of AffectNet, collected by web search; for academic research only, by an agreement "
    "with the University of Denver"
)
_TRAINING = dict(zip(CODES, (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750), strict=True))
_VALIDATION = dict.fromkeys(CODES, 500)
_OFFICIAL_CSV = {
    "train": {"total": 414_799, **_TRAINING},
    "test": {"total": 5_500, **_VALIDATION},
}
_OFFICIAL_NPY = {
    "train": {"total": 287_651, **_TRAINING},
    "test": {"total": 3_999, **_VALIDATION, "contempt": 499},
}
_IMAGES = ("Manually_Annotated_Images", "Manually_Annotated/Manually_Annotated_Images")
_LIST_FOLDERS = ("", "Manually_Annotated", "Manually_Annotated_file_lists")
_LONGEST = 1 << 16  # bytes of a line, which holds 68 landmarks
_LISTS = {"train": "training.csv", "test": "validation.csv"}
_SETS = {"train": "train_set", "test": "val_set"}


@dataclass
class _Rows:
    """All rows: ids, positions in `SPLITS`, codes, and boxes where there are any.

    An id is the path below the root. Files are made of it when they are needed: a `Path` for
    every row would take as long as all the rest.
    """

    ids: list[str] = field(default_factory=list)
    splits: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    boxes: list[tuple[int, int, int, int]] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)


def read_affectnet(root: Path, *, name: str, label_set: LabelSet) -> Release:
    """Read AffectNet; no image is read.

    The first opening of the npy release reads its 290,000 annotation files, which takes minutes on
    a slow disk. The labels are then kept in the cache folder, for both label sets, until the names
    in the folder or its time of change differ; an annotation file that is changed in place is not
    noticed. The lists of the CSV release are read every time.

    Args:
        root: the folder, in one of the layouts above.
        name: what the dataset is called.
        label_set: `BASIC7` or `BASIC8`.

    Returns:
        Images as (H, W, 3) uint8 RGB of any size, in the CSV release cropped to the box as far
        as that lies within the image. An id is the path relative to ``root``.

    Raises:
        ValueError: the layout cannot be understood, or an annotation is malformed; the message
            names file and line and says what was expected.
    """
    images, lists = _find_images(root), _find_lists(root)
    if _has_sets(root) and images is None:
        rows, published = _read_sets(root), _OFFICIAL_NPY
    elif images is not None and lists is not None and not _has_sets(root):
        rows, published = _read_lists(root, images, lists), _OFFICIAL_CSV
    else:
        raise ValueError(f"{root}: {_problem(root)}")
    to_class = np.full(LAST_CODE + 1, -1, dtype=np.int64)
    for code, class_name in enumerate(CODES):
        if class_name in label_set.classes:
            to_class[code] = label_set.index(class_name)

    def reader(index: int) -> NDArray[np.uint8]:
        file = root / rows.ids[index]
        image = read_image(file)
        return _crop(image, rows.boxes[index], file) if rows.boxes else image

    def stamp(index: int) -> str:
        size = file_stamp([root / rows.ids[index]])(0)
        return f"{size} {rows.boxes[index]}" if rows.boxes else size

    return Release(
        name=name,
        label_set=label_set,
        ids=rows.ids,
        splits=np.array(rows.splits, dtype=np.int8),
        labels=to_class[rows.codes],
        reader=reader,
        stamp=stamp,
        unlisted=rows.unlisted,
        official={
            split: {key: n for key, n in counts.items() if key in ("total", *label_set.classes)}
            for split, counts in published.items()
        },
        owners_names={"train": "training", "test": "validation"},
        terms=_TERMS,
    )


def _find_images(root: Path) -> Path | None:
    return next((root / name for name in _IMAGES if (root / name).is_dir()), None)


def _find_lists(root: Path) -> Path | None:
    """Return the folder that holds both lists."""
    candidates = [root / name for name in _LIST_FOLDERS]
    candidates.append(root / "Manually_Annotated" / _LIST_FOLDERS[-1])
    both = (f for f in candidates if all((f / name).is_file() for name in _LISTS.values()))
    return next(both, None)


def _has_sets(root: Path) -> bool:
    parts = ("images", "annotations")
    return all((root / name / part).is_dir() for name in _SETS.values() for part in parts)


def _fits(folder: Path) -> bool:
    whole = _find_images(folder) is not None and _find_lists(folder) is not None
    return whole or _has_sets(folder)


def _problem(root: Path) -> str:
    if _has_sets(root):
        return "holds both the CSV and the npy release; give a folder with one of them"
    expected = (*_IMAGES[:1], *_LISTS.values(), *_SETS.values())
    held = " and ".join(name for name in expected if (root / name).exists())
    found = f"holds {held or 'nothing of AffectNet'}" if root.is_dir() else "no such folder"
    return (
        f"{found}; expected {_IMAGES[0]} with "
        f"{' and '.join(_LISTS.values())} beside it or in {_LIST_FOLDERS[-1]}, or "
        f"{' and '.join(_SETS.values())}, each with images and annotations{advice(root, _fits)}"
    )


def _read_lists(root: Path, images: Path, lists: Path) -> _Rows:
    rows = _Rows()
    start = images.relative_to(root).as_posix()
    place_of: dict[str, tuple[str, int]] = {}
    for split, name in _LISTS.items():
        number = 0
        try:
            with open_regular(lists / name) as file:
                for number, line in numbered_lines(file, _LONGEST):
                    if not line:
                        raise ValueError(f"the line has more than {_LONGEST:,} characters")
                    if number == 1:
                        line = line.removeprefix(b"\xef\xbb\xbf")
                        if _is_header(line):
                            continue
                    if line.isspace():
                        continue
                    path, box, code = _parse_row(line)
                    first = place_of.setdefault(path, (name, number))
                    if first != (name, number):
                        raise ValueError(f"'{path}' is in {first[0]}, line {first[1]}, already")
                    rows.ids.append(f"{start}/{path}")
                    rows.splits.append(SPLITS.index(split))
                    rows.boxes.append(box)
                    rows.codes.append(code)
        except OSError as error:
            raise ValueError(f"{lists / name}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise ValueError(
                f"{lists / name}, line {number}: {error}; restore the line from the released file"
            ) from error
        if SPLITS.index(split) not in rows.splits:
            raise ValueError(f"{lists / name}: has no row; take the released file")
    return rows


def _is_header(line: bytes) -> bool:
    cells = line.decode(errors="replace").strip().split(",")
    if cells[0].lower() != COLUMNS[0].lower():
        return False
    if tuple(cells) != COLUMNS:
        raise ValueError(f"the header is not {','.join(COLUMNS)}")
    return True


def _parse_row(line: bytes) -> tuple[str, tuple[int, int, int, int], int]:
    """Return path, box and code. By hand: the landmarks make lines of 1,000 characters."""
    cells = line.split(b",")
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} columns instead of {len(COLUMNS)}")
    path = cells[0].strip().decode()
    if not path or "\\" in path:
        raise ValueError(f"the path '{path}' instead of one such as 1/0a1b.jpg")
    code = CODE_OF.get(cells[6].strip())
    if code is None:
        raise ValueError(f"expression {_shown(cells[6])} instead of 0 to {LAST_CODE}")
    try:
        x, y, width, height = (
            bounded_int(cell.decode(errors="replace").strip(), -MAX_SIDE, MAX_SIDE)
            for cell in cells[1:5]
        )
    except ValueError:
        raise ValueError(f"the box {_shown(b','.join(cells[1:5]))}, not 4 whole numbers") from None
    return path, (x, y, width, height), code


def _crop(
    image: NDArray[np.uint8], box: tuple[int, int, int, int], file: Path
) -> NDArray[np.uint8]:
    x, y, width, height = box
    face = image[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
    if not face.size:
        raise ValueError(
            f"{file}: the box x={x}, y={y}, {width}x{height} misses the image, which has "
            f"{image.shape[1]}x{image.shape[0]} pixels; restore both from the release"
        )
    return np.ascontiguousarray(face)


def _read_sets(root: Path) -> _Rows:
    rows = _Rows()
    for split, name in _SETS.items():
        stems, codes = read_labels(root / name / "annotations")
        image_of = dict.fromkeys(stems, "")
        for image in sorted(list_names(root / name / "images")):
            stem, _, suffix = image.rpartition(".")
            if image_of.get(stem) == "" and f".{suffix.lower()}" in IMAGE_SUFFIXES:
                image_of[stem] = image
            elif f".{suffix.lower()}" in IMAGE_SUFFIXES:
                rows.unlisted.append(f"{name}/images/{image}")
        listed = [image or f"{stem}.jpg" for stem, image in image_of.items()]
        rows.ids += [f"{name}/images/{image}" for image in listed]
        rows.splits += [SPLITS.index(split)] * len(stems)
        rows.codes += codes.tolist()
    return rows


def _shown(cell: bytes) -> str:
    return f"'{printable(cell[:40].decode(errors='replace').strip())}'"
