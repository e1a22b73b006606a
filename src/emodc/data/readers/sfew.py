"""SFEW 2.0, Static Facial Expressions in the Wild: frames of films.

Source: Dhall, Goecke, Lucey and Gedeon, "Static Facial Expression Analysis in Tough Conditions",
ICCV workshops 2011; version 2.0 is that of the challenge EmotiW 2015 (Dhall et al., ICMI 2015).

Terms: academic research only, under a license agreement with the authors; the frames are those of
commercial films.

Layouts, with the aligned faces (143x181, width x height) or the original frames (720x576)::

    ROOT/Train/Train_Aligned_Faces/<Class>/*.png
    ROOT/Val/Val_Aligned_Faces_new/<Class>/*.png      or Val_Aligned_Faces

    ROOT/Train/<Class>/*.png
    ROOT/Val/<Class>/*.png

Classes: Angry, Disgust, Fear, Happy, Neutral, Sad, Surprise. ``Train`` and ``Val`` can be left
out above the folders of aligned faces, and a folder may lie in one of its own name, or
``Val_Aligned_Faces`` in ``Val_Aligned_Faces_new``: that is how the archives unpack. Where both
aligned faces and frames are there, the aligned faces are taken.

Counts: aligned faces 891 train and 431 val, original frames 958 and 436. The labels of the 372
test images are not public, so everybody reports on Val, which is the split ``test`` here, and
must not be used to choose a checkpoint. The images in ``ROOT/Test`` are counted, no more.

Traps: some aligned "faces" show none or are badly cut (the program FEDC lists 130).
``ROOT/faceless.txt``, one path relative to ROOT a line, ``#`` before a comment, takes images out
of both splits: say so beside the figure. Frames of one film are alike, so validation is carved out
of train by film.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from emodc.data.face_data import SPLITS
from emodc.data.readers.class_names import known_subjects
from emodc.data.readers.path_hints import advice
from emodc.data.release import (
    Release,
    file_reader,
    file_stamp,
    identifier,
    skipped_by_id,
    unlisted_in,
)
from emodc.faces.listing import Skipped, list_folder, list_folders
from emodc.labels import BASIC7
from emodc.support.parsing import read_text

CLASSES = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")

_SPLITS: Mapping[str, tuple[str, ...]] = {
    "train": ("Train_Aligned_Faces", "Train"),
    "test": ("Val_Aligned_Faces_new", "Val_Aligned_Faces", "Val"),
}
"""The folders of a split, the preferred ones first; the last is what the owners call it."""

_OFFICIAL = {
    "aligned faces": {"train": {"total": 891}, "test": {"total": 431}},
    "original frames": {"train": {"total": 958}, "test": {"total": 436}},
}

_FILTER = "faceless.txt"
_FRAME = re.compile(r"(.+?)_\d{6,}")  # Airheads_000519240_00000005.png: film, time, frame


def read_sfew(root: Path) -> Release:
    """Read SFEW 2.0; only the names of files are read.

    Args:
        root: the folder that holds ``Train`` and ``Val``.

    Returns:
        Images as (H, W, 3) uint8 RGB, read on demand. Classes are in the order of `BASIC7`. An
        id is the image's path relative to ``root``. Subjects are films. An image that
        ``faceless.txt`` names has no label.

    Raises:
        ValueError: there is no such folder, a class folder is missing or one too many, or
            ``faceless.txt`` names what is no image; the message says what is accepted.
    """
    sources = {split: _unwrapped(root, split) for split in _SPLITS}
    if root in sources.values():
        raise ValueError(_wrong_root(root))
    files: list[Path] = []
    splits: list[int] = []
    labels: list[int] = []
    unlisted: list[Path] = []
    skipped: list[Skipped] = []
    for split, source in sources.items():
        beside, others = unlisted_in(source, frozenset())
        unlisted += beside
        skipped += others
        for folder in _class_folders(source):
            found = list_folder(folder, recursive=True)
            skipped += found.skipped
            files += found.images
            splits += [SPLITS.index(split)] * len(found.images)
            labels += [BASIC7.index(folder.name)] * len(found.images)
    if not files:
        raise ValueError(f"{root}: no image in its class folders; unpack the archives again")
    ids = [identifier(file, root) for file in files]
    faceless = _read_filter(root, ids)
    films = [match[1] if (match := _FRAME.match(file.name)) else "" for file in files]
    kind = _kind(sources)
    return Release(
        name="sfew",
        label_set=BASIC7,
        ids=ids,
        splits=np.array(splits, dtype=np.int8),
        labels=np.where(faceless, -1, np.array(labels, dtype=np.int64)),
        reader=file_reader(files),
        stamp=file_stamp(files),
        subjects=known_subjects(films, ids),
        unlisted=[identifier(file, root) for file in unlisted],
        skipped=skipped_by_id(skipped, root),
        official=_OFFICIAL[kind],
        owners_names={split: names[-1] for split, names in _SPLITS.items()},
        notes={
            "images": kind,
            f"left out by {_FILTER}": sum(faceless),
            "images of Test, whose labels are not public": _count_test(root),
        },
        terms="SFEW 2.0: frames of films, for academic research under the authors' license",
    )


def _unwrapped(root: Path, split: str) -> Path:
    """Return the folder that holds a split's class folders, ``root`` if there is none."""
    folder = root
    while inner := [path for name in _SPLITS[split] if (path := folder / name).is_dir()]:
        folder = inner[0]
    return folder


def _class_folders(source: Path) -> list[Path]:
    folders = [folder.name for folder in list_folders(source)]
    missing = [name for name in CLASSES if name not in folders]
    strange = [name for name in folders if name not in CLASSES]
    if missing or strange:
        found = [f"no folder {', '.join(missing)}"] if missing else []
        found += [f"unknown folders {', '.join(strange)}"] if strange else []
        raise ValueError(
            f"{source}: {' and '.join(found)}; expected {', '.join(CLASSES)}, one a class: unpack "
            "all archives, and move other folders away"
        )
    return [source / name for name in CLASSES]


def _kind(sources: Mapping[str, Path]) -> str:
    aligned = {split for split, source in sources.items() if "_Aligned_" in source.name}
    if len(aligned) == 1:
        frames = next(source for split, source in sources.items() if split not in aligned)
        raise ValueError(
            f"{sources[aligned.pop()]}: aligned faces, but {frames} holds original frames; unpack "
            "the aligned faces of both Train and Val, or move these away"
        )
    return "aligned faces" if aligned else "original frames"


def _read_filter(root: Path, ids: Sequence[str]) -> list[bool]:
    """Return, for each image, whether ``faceless.txt`` names it."""
    file = root / _FILTER
    if not file.exists():
        return [False] * len(ids)
    known = set(ids)
    line_of: dict[str, int] = {}
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        name = line.strip()
        if not name or name.startswith("#"):
            continue
        if name not in known:
            raise ValueError(
                f"{file}, line {number}: '{name}' is no image of Train or Val; write its path "
                f"below {root} with /, such as {ids[0]}, or remove the line"
            )
        if name in line_of:
            raise ValueError(
                f"{file}, line {number}: '{name}' is in line {line_of[name]} already; remove one"
            )
        line_of[name] = number
    return [name in line_of for name in ids]


def _count_test(root: Path) -> int:
    folders = [path for name in ("Test", "Test_Aligned_Faces") if (path := root / name).is_dir()]
    return len(list_folder(folders[0], recursive=True).images) if folders else 0


def _wrong_root(root: Path) -> str:
    def fits(folder: Path) -> bool:
        return all(_unwrapped(folder, split) != folder for split in _SPLITS)

    if not root.is_dir():
        problem = "no such folder"
    else:
        missing = [n[-1] for split, n in _SPLITS.items() if _unwrapped(root, split) == root]
        problem = f"no folder {' or '.join(missing)} here"
    # The folders of aligned faces lie two levels below the right one.
    return f"{root}: {problem}; expected ROOT/Train and ROOT/Val{advice(root, fits, above=2)}"
