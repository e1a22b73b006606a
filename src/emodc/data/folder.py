"""A folder of pictures, one sub-folder a class.

Two layouts::

    ROOT/<class>/...                            test only
    ROOT/{train,validation|val,test}/<class>/...

Without split folders every picture belongs to ``test``: the same pictures cannot then be
trained on and reported as if they were new. Where there is ``train`` but no ``validation``, a
tenth of each class is set aside from it by the names of the files; frames of one film or several
pictures of one person may land on both sides, so where that matters, make the validation folder
by hand.

A class folder is named after its class in any spelling of the vocabulary ("happy"). Other
names, such as the numbers of RAF-DB, need ``ROOT/classes.json``, an object of folder name to
class name: ``{"1": "surprise", "2": "fear"}``. It then declares the whole label set, and its
class names may be new ones.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from emodc.data.base import SPLITS
from emodc.data.release import Release, file_reader, file_stamp, identifier
from emodc.images import IMAGE_SUFFIXES, list_files, list_images, natural_key
from emodc.labels import ALIASES, BASIC8, LabelSet, canonical_name, label_set_of

_SPLIT_FOLDERS = {"train": "train", "validation": "validation", "val": "validation", "test": "test"}
_MAP_FILE = "classes.json"


def read_folder(root: Path) -> Release:
    """Read a folder of pictures; only the names of files are read.

    Args:
        root: the folder, in one of the layouts above.

    Returns:
        Pictures as (H, W, 3) uint8 RGB of any size, read on demand. Classes are in the order of
        `BASIC8`, then any of ``classes.json`` beyond it. An id is the picture's path relative to
        ``root``. The notes count files that are no pictures.

    Raises:
        ValueError: the layout cannot be understood, or there is no picture; the message says
            what was expected where.
    """
    if not root.is_dir():
        problem = "not a folder" if root.exists() else "no such folder"
        raise ValueError(f"{root}: {problem}; give a folder with one sub-folder a class")
    split_folders = _find_splits(root)
    class_of = _class_names(root, split_folders)
    label_set = _label_set(root, class_of)
    labels: list[int] = []
    splits: list[int] = []
    files: list[Path] = []
    stray: list[Path] = []
    ignored = 0
    for split, source in split_folders.items():
        stray += list_images(source)
        for folder in _folders(source):
            visible = list_files(folder, recursive=True)
            pictures = [file for file in visible if file.suffix.lower() in IMAGE_SUFFIXES]
            ignored += len(visible) - len(pictures)
            files += pictures
            labels += [label_set.index(class_of[folder.name])] * len(pictures)
            splits += [SPLITS.index(split)] * len(pictures)
    if not files:
        raise ValueError(
            f"{root}: no picture in its class folders; expected files that end in "
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
        notes={"ignored, not pictures": ignored},
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
        split = _SPLIT_FOLDERS.get(folder.name.lower())
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


def _class_names(root: Path, split_folders: Mapping[str, Path]) -> dict[str, str]:
    """Return folder name -> class name, in natural order of the folder names."""
    file = root / _MAP_FILE
    declared = _read_map(file) if file.exists() else None
    class_of: dict[str, str] = dict(declared or {})
    for parent in split_folders.values():
        for folder in _folders(parent):
            name = canonical_name(folder.name)
            if declared is not None and folder.name not in declared:
                raise ValueError(f"{folder}: {file} has no class for the folder '{folder.name}'")
            if declared is None and name not in BASIC8.classes:
                raise ValueError(
                    f"{folder}: '{folder.name}' is no class; accepted are "
                    f"{', '.join([*BASIC8.classes, *ALIASES])}; for other names write {file}, "
                    'such as {"1": "surprise", "2": "fear"}'
                )
            class_of.setdefault(folder.name, name)
    return {name: class_of[name] for name in sorted(class_of, key=natural_key)}


def _read_map(file: Path) -> dict[str, str]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{file}: not readable as JSON ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise ValueError(
            f'{file}: expected an object of folder name to class name, such as {{"1": "surprise"}}'
        )
    return {folder: canonical_name(name) for folder, name in content.items()}


def _label_set(root: Path, class_of: Mapping[str, str]) -> LabelSet:
    present = dict.fromkeys(class_of.values())
    known = [name for name in BASIC8.classes if name in present]
    names = [*known, *(name for name in present if name not in known)]
    if len(names) < 2:
        raise ValueError(
            f"{root}: {len(names)} class folders, but telling classes apart takes at least two; "
            f"expected ROOT/<class>/... or ROOT/{{train,validation,test}}/<class>/..., and "
            f"{_MAP_FILE} can declare classes without pictures"
        )
    return label_set_of(names)


def _why_absent(root: Path, split: str, split_folders: Mapping[str, Path]) -> str:
    if split in split_folders:
        return f"{split_folders[split]} has no picture in its class folders"
    if split_folders.get("test") == root:
        return (
            f"without split folders all pictures of {root} are the test split; for '{split}', "
            f"move the class folders into {root / 'train'} and {root / 'test'}"
        )
    return f"{root} has no folder for it, only {', '.join(split_folders)}"
