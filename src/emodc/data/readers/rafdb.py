"""RAF-DB, the Real-world Affective Faces Database: its basic and its compound expressions.

Source: Li, Deng and Du, "Reliable Crowdsourcing and Deep Locality-Preserving Learning for
Expression Recognition in the Wild", CVPR 2017; about 40 annotators an image.

Terms: non-commercial research only, no redistribution; the images come from the Internet and
are not the authors' property. The authors give access to those who ask (whdeng.cn).

Layouts: what is handed out (the compound expressions lie under ``compound`` alike)::

    ROOT/basic/EmoLabel/list_patition_label.txt                (sic) train_00001.jpg 5
    ROOT/basic/Image/aligned/train_00001_aligned.jpg           100x100
    ROOT/basic/Image/original/train_00001.jpg                  if there is no ``aligned``
    ROOT/basic/Annotation/manual/train_00001_manu_attri.txt    optional

and a copy of the basic part that is often passed on, without attributes, sometimes with a folder
``valid`` that someone took out of ``train``::

    ROOT/DATASET/{train,test}/{1..7}/train_00001_aligned.jpg

Codes: 1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral; the compound
ones 1..11 in the order of `COMPOUND11`. Counts: 12,271 train and 3,068 test images, compound
3,162 and 792. The owners give no validation split: it is carved out of train.

Traps: codes start at 1, in an order of their own. ``original`` holds whole photographs, which need
detection. 4,772 of the training images show happiness and 281 fear, so look at the mean over
classes as well. A list with codes 1..7 does not tell which part it belongs to: the folder does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emodc.data.face_data import SPLITS
from emodc.data.readers.path_hints import advice
from emodc.data.readers.rafdb_attributes import read_attributes
from emodc.data.readers.split_names import split_folders
from emodc.data.release import (
    Release,
    file_reader,
    file_stamp,
    identifier,
    skipped_by_id,
    unlisted_in,
)
from emodc.faces.listing import Skipped, list_folder, list_folders
from emodc.labels import BASIC7, COMPOUND11, LabelSet
from emodc.support.parsing import read_text

_LISTS = ("list_patition_label.txt", "list_partition_label.txt")
_NAME = re.compile(r"((train|test)_\d+)(_aligned)?\.jpg")
_CLASSES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
_TRAIN = (1_290, 281, 717, 4_772, 1_982, 705, 2_524)
_TEST = (329, 74, 160, 1_185, 478, 162, 680)


@dataclass(frozen=True)
class _Part:
    """One of the two parts of RAF-DB."""

    name: str  # the registered one
    folder: str
    other: tuple[str, str]  # folder and registered name of the other part
    label_set: LabelSet
    classes: tuple[str, ...]  # of the codes 1, 2, ...
    official: Mapping[str, Mapping[str, int]]

    def label_of(self) -> dict[str, int]:
        """Return the class index of each code."""
        return {
            str(code): self.label_set.index(name) for code, name in enumerate(self.classes, start=1)
        }


_BASIC = _Part(
    name="rafdb",
    folder="basic",
    other=("compound", "rafdb-compound"),
    label_set=BASIC7,
    classes=_CLASSES,
    official={
        "train": {"total": 12_271, **dict(zip(_CLASSES, _TRAIN, strict=True))},
        "test": {"total": 3_068, **dict(zip(_CLASSES, _TEST, strict=True))},
    },
)
_COMPOUND = _Part(
    name="rafdb-compound",
    folder="compound",
    other=("basic", "rafdb"),
    label_set=COMPOUND11,
    classes=COMPOUND11.classes,
    official={"train": {"total": 3_162}, "test": {"total": 792}},
)


@dataclass(frozen=True)
class _Row:
    """An image: its stable name, its file, its split and its class index."""

    name: str
    file: Path
    split: str
    label: int


def read_rafdb(root: Path) -> Release:
    """Read the basic expressions; only the list and the names of files are read.

    Args:
        root: the folder that holds ``basic``, or ``basic`` itself; for the copy the folder that
            holds ``train`` and ``test``, or the one that holds ``DATASET``; other names of splits
            will do (`emodc.data.readers.split_names`).

    Returns:
        Images as (H, W, 3) uint8 RGB, read on demand; the aligned ones where there are any.
        Classes are in the order of `BASIC7`. An id is the name in the list (``train_00001.jpg``),
        whatever the layout, so that the same images are set aside for validation in each; a
        image of the copy that has no such name goes by its path. Attributes are those of
        `emodc.data.readers.rafdb_attributes`, read when they are asked for.

    Raises:
        ValueError: there is no such folder, or the list is malformed; the message names file and
            line and says what is accepted.
    """
    copy = _copy_folder(root)
    if copy is None or _part_folder(root, _BASIC) is not None:
        return _read_official(root, _BASIC)
    return _read_copy(copy)


def read_rafdb_compound(root: Path) -> Release:
    """Read the compound expressions; only the list and the names of files are read.

    Args:
        root: the folder that holds ``compound``, or ``compound`` itself.

    Returns:
        As `read_rafdb`, with the classes of `COMPOUND11`.

    Raises:
        ValueError: as for `read_rafdb`.
    """
    return _read_official(root, _COMPOUND)


def _read_official(root: Path, part: _Part) -> Release:
    folder = _part_folder(root, part)
    if folder is None:
        raise ValueError(_wrong_root(root, part))
    kinds = [kind for kind in ("aligned", "original") if (folder / "Image" / kind).is_dir()]
    if not kinds:
        raise ValueError(f"{folder / 'Image'}: needs a folder 'aligned' or 'original'; unpack one")
    rows = _read_list(folder, kinds[0], part)
    images = folder / "Image" / kinds[0]
    unlisted, skipped = unlisted_in(images, {row.file.name for row in rows})
    attributes = read_attributes(folder, [row.name.removesuffix(".jpg") for row in rows])
    return replace(
        _release(part, rows, unlisted, skipped, root),
        attributes=attributes,
        notes={"images": kinds[0]},
    )


def _read_list(folder: Path, kind: str, part: _Part) -> list[_Row]:
    source = folder / "EmoLabel"
    file = next((path for name in _LISTS if (path := source / name).is_file()), None)
    if file is None:
        raise ValueError(f"{source}: no {_LISTS[0]} here; unpack the labels of RAF-DB into it")
    images = folder / "Image" / kind
    ending = "_aligned.jpg" if kind == "aligned" else ".jpg"
    label_of = part.label_of()
    line_of: dict[str, int] = {}
    rows: list[_Row] = []
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        cells = line.split()
        try:
            if not cells:
                continue
            match = _NAME.fullmatch(cells[0])
            if len(cells) != 2 or match is None:
                raise ValueError(f"'{line[:60]}' is not of the form 'train_00001.jpg 5'")
            if (stem := match[1]) in line_of:
                raise ValueError(f"'{cells[0]}' is listed already in line {line_of[stem]}")
            if cells[1] not in label_of:
                accepted = ", ".join(map(" ".join, zip(label_of, part.classes, strict=True)))
                raise ValueError(f"'{cells[1]}' is no class code; accepted are {accepted}")
        except ValueError as error:
            raise ValueError(
                f"{file}, line {number}: {error}; restore the line from the released list"
            ) from error
        line_of[stem] = number
        rows.append(_Row(f"{stem}.jpg", images / (stem + ending), match[2], label_of[cells[1]]))
    if not rows:
        raise ValueError(f"{file}: lists no image; restore the released list")
    return rows


def _read_copy(folder: Path) -> Release:
    rows: dict[str, _Row] = {}
    stray: list[Path] = []
    skipped: list[Skipped] = []
    sources = split_folders(folder)
    for split, source in sources.items():
        beside, others = unlisted_in(source, frozenset())
        stray += beside
        skipped += others
        released = "train" if split == "validation" else split  # validation is a part of train
        for class_folder, label in _class_folders(source):
            found = list_folder(class_folder, recursive=True)
            skipped += found.skipped
            for file in found.images:
                match = _NAME.fullmatch(file.name)
                known = match is not None and match[2] == released
                name = f"{match[1]}.jpg" if match and known else identifier(file, folder)
                if name in rows:
                    raise ValueError(
                        f"{file}: the same image as {rows[name].file}; remove one of the two"
                    )
                rows[name] = _Row(name, file, split, label)
    if not rows:
        raise ValueError(f"{folder}: no image in its class folders; unpack the archive again")
    whole = _release(_BASIC, list(rows.values()), stray, skipped, folder)
    official = dict(whole.official) if len(sources) == 2 else {"test": whole.official["test"]}
    absent = dict.fromkeys(SPLITS, f"{folder} has only {', '.join(sources)}")
    return replace(whole, official=official, absent=absent, notes={"images": "aligned"})


def _class_folders(parent: Path) -> list[tuple[Path, int]]:
    """Return the folders 1..7 and their class indices."""
    label_of = _BASIC.label_of()
    found = [folder.name for folder in list_folders(parent)]
    if set(found) != set(label_of):
        raise ValueError(
            f"{parent}: has the folders {', '.join(found)} instead of 1 to 7, a class each; unpack "
            "the archive again, or open folders with other names as "
            f"'folder:{parent.parent}'"
        )
    return [(parent / code, label) for code, label in label_of.items()]


def _release(
    part: _Part,
    rows: Sequence[_Row],
    unlisted: Sequence[Path],
    skipped: Sequence[Skipped],
    root: Path,
) -> Release:
    files = [row.file for row in rows]
    return Release(
        name=part.name,
        label_set=part.label_set,
        ids=[row.name for row in rows],
        splits=np.array([SPLITS.index(row.split) for row in rows], dtype=np.int8),
        labels=np.array([row.label for row in rows], dtype=np.int64),
        reader=file_reader(files),
        stamp=file_stamp(files),
        unlisted=[identifier(file, root) for file in unlisted],
        skipped=skipped_by_id(skipped, root),
        official=part.official,
        terms="RAF-DB: images from the Internet, for non-commercial research only",
    )


def _part_folder(root: Path, part: _Part) -> Path | None:
    """Return the folder of the part: inside ``root``, or ``root`` itself."""
    if (root / part.folder / "EmoLabel").is_dir():
        return root / part.folder
    # Whatever it is called, such as raf-basic, unless that says it is the other part.
    if (root / "EmoLabel").is_dir() and part.other[0] not in root.absolute().name.lower():
        return root
    return None


def _copy_folder(root: Path) -> Path | None:
    """Return the folder of the copy that holds ``train`` and another split."""
    for folder in (root, root / "DATASET"):
        sources = split_folders(folder) if folder.is_dir() else {}
        if len(sources) > 1 and "train" in sources and (sources["train"] / "1").is_dir():
            return folder
    return None


def _wrong_root(root: Path, part: _Part) -> str:
    def fits(folder: Path) -> bool:
        found = _part_folder(folder, part)
        return (found or (_copy_folder(folder) if part is _BASIC else None)) is not None

    folder, name = part.other
    if (root / "EmoLabel").is_dir():  # and yet not taken
        return f"{root}: the {folder} part of RAF-DB; open it as '{name}:{root}'"
    expected = f"ROOT/{part.folder}/EmoLabel/{_LISTS[0]}"
    if part is _BASIC:
        expected += " or ROOT/DATASET/{train,test}/{1..7}/"
    problem = f"no {part.folder} part of RAF-DB here" if root.is_dir() else "no such folder"
    # The folders of images lie two levels below the right one.
    return f"{root}: {problem}; expected {expected}{advice(root, fits, above=2)}"
