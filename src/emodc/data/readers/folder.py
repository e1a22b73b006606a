"""A folder of images, one sub-folder a class.

Two layouts::

    ROOT/<class>/...                            test only
    ROOT/{train,validation,test}/<class>/...          or train/valid/test, Training/Testing, ...

Without split folders every image belongs to ``test``: the same images cannot then be
trained on and reported as if they were new. Where there is ``train`` but no ``validation``, a
tenth of each class is set aside from it by the names of the files; frames of one film or several
images of one person may land on both sides, so where that matters, make the validation folder
by hand.

A class folder is named after its class in any spelling of the vocabulary ("happy"), or all of them
by names of the user's own; numbers, as in RAF-DB, need ``ROOT/classes.json`` (see
`emodc.data.readers.class_names`). What a split may be called is said in
`emodc.data.readers.split_names`.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emodc.data.face_data import SPLITS
from emodc.data.readers.class_names import MAP_FILE, ClassNames
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
from emodc.labels import LabelSet


def read_folder(root: Path) -> Release:
    """Read a folder of images; only the names of files are read.

    Args:
        root: the folder, in one of the layouts above.

    Returns:
        Images as (H, W, 3) uint8 RGB of any size, read on demand. Classes are in the order of
        `BASIC8`, then `COMPOUND11`, then any of ``classes.json`` beyond these. An id is the
        image's path relative to ``root``.

    Raises:
        ValueError: the layout cannot be understood, or there is no image; the message says
            what was expected where.
    """
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise ValueError(f"{root}: {problem}; give a folder with one sub-folder a class")
    sources = _find_splits(root)
    label_set, class_of = _classes(root, sources)
    labels: list[int] = []
    splits: list[int] = []
    files: list[Path] = []
    stray: list[Path] = []
    skipped: list[Skipped] = []
    for source in dict.fromkeys((root, *sources.values())):
        beside, others = unlisted_in(source, frozenset())
        stray += beside
        skipped += [item for item in others if item.file != root / MAP_FILE]
    for split, source in sources.items():
        for folder in list_folders(source):
            found = list_folder(folder, recursive=True)
            skipped += found.skipped
            files += found.images
            labels += [label_set.index(class_of[folder.name])] * len(found.images)
            splits += [SPLITS.index(split)] * len(found.images)
    if not files:
        raise ValueError(f"{root}: no image in its class folders; put images into them")
    return Release(
        name="folder",
        label_set=label_set,
        ids=[identifier(file, root) for file in files],
        splits=np.array(splits, dtype=np.int8),
        labels=np.array(labels, dtype=np.int64),
        reader=file_reader(files),
        stamp=file_stamp(files),
        unlisted=[identifier(file, root) for file in stray],
        skipped=skipped_by_id(skipped, root),
        absent={split: _why_absent(root, split, sources) for split in SPLITS},
    )


def _find_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split; ``root`` itself is the test split if it has none."""
    found = split_folders(root)
    others = [folder.name for folder in list_folders(root) if folder not in found.values()]
    if found and others:
        raise ValueError(
            f"{root}: has split folders and others beside them ({', '.join(others)}); "
            f"move these into a split folder or away"
        )
    return found or {"test": root}


def _classes(root: Path, sources: Mapping[str, Path]) -> tuple[LabelSet, dict[str, str]]:
    """Return the label set, and folder name -> class name."""
    names = ClassNames.beside(root, "folder")
    folders = [folder for source in sources.values() for folder in list_folders(source)]
    class_of = names.meanings({folder.name: folder for folder in folders})
    try:
        return names.label_set(class_of.values(), root), class_of
    except ValueError as error:
        raise ValueError(
            f"{error}; expected ROOT/<class>/... or ROOT/{{train,validation,test}}/<class>/..."
        ) from error


def _why_absent(root: Path, split: str, sources: Mapping[str, Path]) -> str:
    if split in sources:
        return f"{sources[split]} has no image in its class folders"
    if sources.get("test") == root:
        return (
            f"without split folders all images of {root} are the test split; for '{split}', "
            f"move the class folders into {root / 'train'} and {root / 'test'}"
        )
    return f"{root} has no folder for it, only {', '.join(sources)}"
