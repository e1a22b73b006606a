"""A folder of images, one sub-folder a class.

Two layouts::

    ROOT/<class>/...                            test only
    ROOT/{train,validation|val,test}/<class>/...

Without split folders every image belongs to ``test``: the same images cannot then be
trained on and reported as if they were new. Where there is ``train`` but no ``validation``, a
tenth of each class is set aside from it by the names of the files; frames of one film or several
images of one person may land on both sides, so where that matters, make the validation folder
by hand.

A class folder is named after its class in any spelling of the vocabulary ("happy"); other
names, such as the numbers of RAF-DB, need ``ROOT/classes.json`` (see
`emodc.data.readers.class_names`).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emodc.data.face_data import SPLITS
from emodc.data.readers.class_names import SPLIT_NAMES, ClassNames
from emodc.data.release import Release, file_reader, file_stamp, identifier
from emodc.faces.reading import IMAGE_SUFFIXES, list_files, list_images, natural_key
from emodc.labels import LabelSet


def read_folder(root: Path) -> Release:
    """Read a folder of images; only the names of files are read.

    Args:
        root: the folder, in one of the layouts above.

    Returns:
        Images as (H, W, 3) uint8 RGB of any size, read on demand. Classes are in the order of
        `BASIC8`, then `COMPOUND11`, then any of ``classes.json`` beyond these. An id is the
        image's path relative to ``root``. The notes count files that are no images.

    Raises:
        ValueError: the layout cannot be understood, or there is no image; the message says
            what was expected where.
    """
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise ValueError(f"{root}: {problem}; give a folder with one sub-folder a class")
    split_folders = _find_splits(root)
    label_set, class_of = _classes(root, split_folders)
    labels: list[int] = []
    splits: list[int] = []
    files: list[Path] = []
    stray: list[Path] = []
    ignored = 0
    for split, source in split_folders.items():
        stray += list_images(source)
        for folder in _folders(source):
            visible = list_files(folder, recursive=True)
            images = [file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES]
            ignored += len(visible) - len(images)
            files += images
            labels += [label_set.index(class_of[folder.name])] * len(images)
            splits += [SPLITS.index(split)] * len(images)
    if not files:
        raise ValueError(
            f"{root}: no image in its class folders; expected files that end in "
            f"{', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return Release(
        name="folder",
        label_set=label_set,
        ids=[identifier(file, root) for file in files],
        splits=np.array(splits, dtype=np.int8),
        labels=np.array(labels, dtype=np.int64),
        reader=file_reader(files),
        stamp=file_stamp(files),
        unlisted=[identifier(file, root) for file in stray],
        absent={split: _why_absent(root, split, split_folders) for split in SPLITS},
        notes={"ignored, not images": ignored},
    )


def _folders(parent: Path) -> list[Path]:
    try:
        visible = [path for path in parent.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise ValueError(f"{parent}: cannot list this folder ({error.strerror})") from error
    return sorted((path for path in visible if path.is_dir()), key=lambda p: natural_key(p.name))


def _find_splits(root: Path) -> dict[str, Path]:
    """Return the folder of each split; ``root`` itself is the test split if it has none."""
    folders = _folders(root)
    found: dict[str, Path] = {}
    for folder in folders:
        split = SPLIT_NAMES.get(folder.name.lower())
        if split in found:
            raise ValueError(f"{root}: '{found[split].name}' and '{folder.name}' are one split")
        if split is not None:
            found[split] = folder
    if found and len(found) < len(folders):
        others = [folder.name for folder in folders if folder not in found.values()]
        raise ValueError(
            f"{root}: has split folders and others beside them ({', '.join(others)}); "
            f"move these into a split folder or away"
        )
    return found or {"test": root}


def _classes(root: Path, split_folders: Mapping[str, Path]) -> tuple[LabelSet, dict[str, str]]:
    """Return the label set, and folder name -> class name."""
    names = ClassNames.beside(root, "folder")
    class_of: dict[str, str] = {}
    for parent in split_folders.values():
        for folder in _folders(parent):
            class_of[folder.name] = names.resolve(folder.name, folder)
    try:
        return names.label_set(class_of.values(), root), class_of
    except ValueError as error:
        raise ValueError(
            f"{error}; expected ROOT/<class>/... or ROOT/{{train,validation,test}}/<class>/..."
        ) from error


def _why_absent(root: Path, split: str, split_folders: Mapping[str, Path]) -> str:
    if split in split_folders:
        return f"{split_folders[split]} has no image in its class folders"
    if split_folders.get("test") == root:
        return (
            f"without split folders all images of {root} are the test split; for '{split}', "
            f"move the class folders into {root / 'train'} and {root / 'test'}"
        )
    return f"{root} has no folder for it, only {', '.join(split_folders)}"
